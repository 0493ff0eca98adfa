// One slice of each volume at a time; without scripts all are side by side.
(() => {
  const figure = $("slices");
  if (!figure) return;
  const [slider, said] = figure.querySelectorAll("input, output");
  const places = figure.dataset.z.split(" ");

  function show() {
    const z = places[slider.value].replace("-", "\u2212");
    figure.style.setProperty("--at", slider.value);
    said.textContent = `${z} voxel${Math.abs(places[slider.value]) === 1 ? "" : "s"}`;
    slider.setAttribute("aria-valuetext", said.textContent);
  }
  slider.addEventListener("input", show);
  figure.querySelector(".tools").hidden = false;
  figure.classList.add("sliding");
  show();
})();
