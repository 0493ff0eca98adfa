(() => {
  const figures = document.querySelectorAll(".points");
  if (figures.length === 0) return;
  const add = drawInto;
  const SIDE = 320;
  const LEFT = 46;
  const TOP = 8;
  const WIDTH = LEFT + SIDE + 14;
  const HEIGHT = TOP + SIDE + 38;
  const scale = SIDE / STEPS;
  const chosen = new Set(); // classes picked in a legend; none stands for all
  const drawings = [];

  // Those that belong to no class come first, below the rest.
  const groups = data.classes.map((c) => ({ number: c.k, kind: c.c, members: c.ids }));
  groups.sort((a, b) => b.members.length - a.members.length);
  const accounted = new Set(groups.flatMap((group) => group.members));
  const left = [...Array(data.particles).keys()].filter((id) => !accounted.has(id));
  groups.unshift({ number: -1, kind: "none", members: left });

  function niceStep(span, pieces) {
    const power = 10 ** Math.floor(Math.log10(span / pieces));
    return [1, 2, 5, 10].map((f) => f * power).find((step) => step * pieces >= span * (1 - 1e-9));
  }

  function drawAxes(svg, xColumn, yColumn) {
    add(svg, "rect", { x: LEFT, y: TOP, width: SIDE, height: SIDE, class: "frame" });
    const axis = (column, place, write) => {
      const span = column.high - column.low;
      const step = niceStep(span, 5);
      for (let i = Math.ceil(column.low / step); i * step <= column.high; i++) {
        const at = (i * step - column.low) / span;
        place(at * SIDE, i === 0 ? "zero" : "grid");
        write(at * SIDE, String(Number((i * step).toPrecision(6))).replace("-", "\u2212"));
      }
    };
    const floor = TOP + SIDE;
    axis(
      xColumn,
      (at, kind) => add(svg, "line", { x1: LEFT + at, x2: LEFT + at, y1: TOP, y2: floor, class: kind }),
      (at, text) => add(svg, "text", { x: LEFT + at, y: floor + 15, "text-anchor": "middle" }, text),
    );
    axis(
      yColumn,
      (at, kind) => add(svg, "line", { x1: LEFT, x2: LEFT + SIDE, y1: floor - at, y2: floor - at, class: kind }),
      (at, text) => add(svg, "text", { x: LEFT - 6, y: floor - at + 4, "text-anchor": "end" }, text),
    );
    add(svg, "text", { x: LEFT + SIDE / 2, y: HEIGHT - 5, "text-anchor": "middle", class: "name" }, xColumn.name);
    const turn = `translate(10 ${TOP + SIDE / 2}) rotate(-90)`;
    add(svg, "text", { transform: turn, "text-anchor": "middle", class: "name" }, yColumn.name);
  }

  // A hemisphere seen from above, equal areas for equal solid angles.
  function drawDisc(svg) {
    const [x, y] = [LEFT + SIDE / 2, TOP + SIDE / 2];
    for (const angle of [30, 60, 90]) {
      const r = (SIDE / 2) * Math.SQRT2 * Math.sin((angle * Math.PI) / 360);
      add(svg, "circle", { cx: x, cy: y, r, class: angle === 90 ? "rim" : "ring" });
      add(svg, "text", { x: x + 3, y: y - r + 12, class: "halo" }, `${angle}°`);
    }
    add(svg, "text", { x: x + SIDE / 2 + 5, y: y + 4, class: "name" }, "x");
    add(svg, "text", { x, y: TOP + SIDE + 15, "text-anchor": "middle", class: "name" }, "\u2212y");
  }

  function start(figure) {
    const columns = data.points[figure.dataset.points];
    const isDisc = figure.dataset.points === "directions";
    const svg = figure.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    const pickers = [...figure.querySelectorAll("select")];
    const size = data.particles > 5000 ? 2.2 : data.particles > 1000 ? 3 : 4.5;

    function draw() {
      const [x, y] = pickers.length ? pickers.map((p) => columns[Number(p.value)]) : columns;
      svg.replaceChildren();
      if (!isDisc) drawAxes(svg, x, y);
      const cloud = add(svg, "g", { class: "cloud", "stroke-width": size });
      for (const group of groups) {
        const parts = group.members.map(
          (id) => `M${(LEFT + scale * x.parts[id]).toFixed(1)} ${(TOP + SIDE - scale * y.parts[id]).toFixed(1)}h0`,
        );
        const path = add(cloud, "path", { d: parts.join(""), class: group.kind });
        path.dataset.class = group.number;
      }
      if (isDisc) drawDisc(svg);
      highlight();
    }

    function highlight() {
      const cloud = svg.querySelector(".cloud");
      cloud.classList.toggle("some", chosen.size > 0);
      for (const path of [...cloud.children]) {
        const on = chosen.has(Number(path.dataset.class));
        path.classList.toggle("on", on);
        if (on) cloud.append(path); // what is picked lies on top
      }
      for (const chip of figure.querySelectorAll(".chip")) {
        chip.setAttribute("aria-pressed", String(chosen.has(Number(chip.dataset.class))));
      }
    }

    for (const picker of pickers) picker.addEventListener("change", draw);
    figure.querySelector(".turn")?.addEventListener("click", () => {
      const next = (Number(pickers[1].value) + 1) % columns.length;
      [pickers[0].value, pickers[1].value] = [pickers[1].value, next];
      draw();
    });
    figure.addEventListener("click", (event) => {
      const chip = event.target.closest(".chip");
      if (!chip) return;
      const number = Number(chip.dataset.class);
      if (!chosen.delete(number)) chosen.add(number);
      for (const update of drawings) update();
    });
    drawings.push(highlight);
    figure.hidden = false;
    draw();
  }

  figures.forEach(start);
})();
