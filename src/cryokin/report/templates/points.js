(() => {
  const figures = document.querySelectorAll(".points");
  if (figures.length === 0) return;
  const data = dataOfPage;
  const add = drawInto;
  const SIDE = 320;
  const LEFT = 46;
  const TOP = 8;
  const WIDTH = LEFT + SIDE + 14;
  const HEIGHT = TOP + SIDE + 38;
  const STEPS = 65535; // coordinates are whole parts of their range
  const chosen = new Set(); // classes picked in a legend; none stands for all
  const drawings = [];

  // The class of every particle; those that belong to none come first, below the rest.
  const groups = [{ number: -1, kind: "none", members: [] }];
  const home = new Int32Array(data.particles);
  data.classes.forEach((c, i) => {
    const group = { number: c.k, kind: `c${i % 10}`, members: [] };
    let id = 0;
    for (const step of c.m) {
      group.members.push((id += step));
      home[id] = groups.length;
    }
    groups.push(group);
  });
  home.forEach((at, id) => at === 0 && groups[0].members.push(id));
  groups.sort((a, b) => (a.number < 0 ? -1 : b.number < 0 ? 1 : b.members.length - a.members.length));

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true) / STEPS);
  }

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
    const points = data.points[figure.dataset.points];
    const columns = points.columns.map((column) => ({ ...column, values: unpack(column.packed) }));
    const svg = figure.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    const pickers = [...figure.querySelectorAll("select")];
    const size = data.particles > 5000 ? 2.2 : data.particles > 1000 ? 3 : 4.5;

    function draw() {
      const [x, y] = pickers.length ? pickers.map((p) => columns[Number(p.value)]) : columns;
      svg.replaceChildren();
      if (!points.disc) drawAxes(svg, x, y);
      const cloud = add(svg, "g", { class: "cloud", "stroke-width": size });
      for (const group of groups) {
        const parts = group.members.map(
          (id) => `M${(LEFT + SIDE * x.values[id]).toFixed(1)} ${(TOP + SIDE * (1 - y.values[id])).toFixed(1)}h0`,
        );
        const path = add(cloud, "path", { d: parts.join(""), class: group.kind });
        path.dataset.class = group.number;
      }
      if (points.disc) drawDisc(svg);
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
    const form = figure.querySelector("form");
    if (form) form.addEventListener("submit", (event) => event.preventDefault());
    const turn = figure.querySelector(".turn");
    if (turn) {
      turn.addEventListener("click", () => {
        const next = (Number(pickers[1].value) + 1) % columns.length;
        pickers[0].value = pickers[1].value;
        pickers[1].value = next;
        draw();
      });
    }
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
