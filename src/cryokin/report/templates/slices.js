// One slice of each volume at a time; without scripts all are side by side.
(() => {
  const figure = document.getElementById("slices");
  if (!figure) return;
  const form = figure.querySelector("form");
  const [slider, said] = [form.querySelector("input"), form.querySelector("output")];
  const places = figure.dataset.z.split(" ");

  function show() {
    const z = places[slider.value].replace("-", "\u2212");
    figure.style.setProperty("--at", slider.value);
    said.textContent = `${z} voxel${Math.abs(places[slider.value]) === 1 ? "" : "s"}`;
    slider.setAttribute("aria-valuetext", said.textContent);
  }
  slider.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  figure.classList.add("sliding");
  show();
})();
