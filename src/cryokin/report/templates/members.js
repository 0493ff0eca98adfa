// Particles of a class as pictures: a few in the file, all of them by `make select`.
(() => {
  // The server has the page alone, not the files of the run beside it.
  if (served) for (const link of document.querySelectorAll('a:not([href^="#"])')) link.removeAttribute("href");
  if (!data.sheet) return;
  const count = (n) => n.toLocaleString("en");

  // Returns what shows the particles of a class, or of none.
  function viewer(root) {
    const [said, raw, back, on, image] = ["said", "raw", "back", "on", "sheet"].map((name) =>
      root.querySelector(`.${name}`),
    );
    let [of, page] = [null, 0];
    const isRaw = () => raw.firstElementChild.checked;

    function draw() {
      const first = page * data.sheet;
      const last = Math.min(of.n, first + data.sheet);
      const kind = !of.aligned ? "" : isRaw() ? ", as they lie in their boxes" : ", aligned";
      said.textContent = served
        ? `${count(first + 1)}–${count(last)} of ${count(of.n)} ${of.noun}${kind}`
        : `A few of ${count(of.n)} ${of.noun}${kind}`;
      image.alt = said.textContent;
      if (served) image.src = `members/${of.name}/${isRaw() || !of.aligned ? "raw" : "aligned"}/${page}.png`;
      else image.src = of.sample;
      [back.disabled, on.disabled] = [page === 0, last === of.n];
    }

    function turn(by) {
      page += by;
      draw();
    }
    raw.addEventListener("change", draw);
    back.addEventListener("click", () => turn(-1));
    on.addEventListener("click", () => turn(1));
    return (what) => {
      [of, page] = [what, 0];
      root.hidden = of.n === 0 || !(served || of.sample);
      raw.hidden = !served || !of.aligned;
      back.hidden = on.hidden = !served || of.n <= data.sheet;
      if (!root.hidden) draw();
    };
  }

  const rest = $("unaccounted");
  if (rest) {
    const sample = rest.querySelector(".sheet").src;
    viewer(rest)({ name: "unaccounted", n: data.unaccounted, noun: "unaccounted particles", aligned: false, sample });
  }
  const ofClass = $("members");
  if (galleryOfPage && ofClass) {
    const show = viewer(ofClass);
    galleryOfPage.onShow((c) => show({ name: c.k, n: c.n, noun: "members", aligned: true, sample: c.p }));
  }
})();
