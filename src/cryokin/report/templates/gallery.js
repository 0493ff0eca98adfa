"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const served = document.querySelector('meta[name="selection-file"]') !== null; // by `make select`

// Ids of members are stored as their ascending differences.
for (const c of data.classes) {
  let id = 0;
  c.ids = c.m.map((step) => (id += step));
  c.n = c.ids.length;
}

// Coordinates are whole parts of their range, of which there are so many.
const STEPS = 999;

// Puts a shape into a drawing.
function drawInto(parent, name, attributes, content) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (content !== undefined) node.textContent = content;
  parent.append(node);
  return node;
}

// The gallery and the class that is looked at; what it returns, select.js picks from.
const galleryOfPage = (() => {
  const gallery = $("gallery");
  if (!gallery) return null;
  const classes = new Map(data.classes.map((c) => [c.k, c]));
  const tiles = [...gallery.querySelectorAll(".tile")];
  const classOf = (tile) => classes.get(Number(tile.dataset.class));
  const detail = $("detail");
  const narrow = window.matchMedia("(max-width: 959.98px)");
  const views = data.points?.directions?.map((column) => column.parts); // of the beam, on a disc
  const rows = data.excluded && // of the input, without those that were left out
    [...Array(data.particles + data.excluded.length).keys()].filter((row) => !data.excluded.includes(row));
  const watchers = []; // called with the class that comes to be shown
  let shown = null;

  const NONE = "–";
  const unit = data.unit ?? "Å";
  const number = (value, digits, unit) =>
    value === null ? NONE : `${value.toFixed(digits)}\u00a0${unit}`;
  const text = {
    n: (c) => c.n.toLocaleString("en"),
    e: (c) => number(c.e, 2, "px"),
    d: (c) => number(c.d, 1, unit),
    d143: (c) => number(c.d143, 1, unit),
    r: (c) => (c.r === null ? NONE : `${Math.round(100 * c.r)}\u00a0%`),
    g: (c) => `gen ${c.g}`,
  };

  // The better class first: large and reproducible, but of small error and resolution.
  const descending = { n: true, r: true };

  function sort() {
    const key = $("key").value;
    const sign = (descending[key] ? -1 : 1) * ($("turn").checked ? -1 : 1);
    tiles.sort((a, b) => {
      const [p, q] = [classOf(a), classOf(b)];
      const [x, y] = [p[key], q[key]];
      if (x === y) return p.k - q.k;
      if (x === null) return 1; // what is unknown stays at the end
      if (y === null) return -1;
      return sign * (x - y);
    });
    gallery.append(...tiles.map((tile) => tile.parentElement));
    label();
  }

  // The first line ends with what the second one does not show already.
  function label() {
    const key = $("key").value;
    const compact = gallery.classList.contains("compact");
    const tells = text[key] && (compact || (key !== "e" && key !== "d")) ? key : "n";
    for (const tile of tiles) {
      const [seen, said] = tile.querySelectorAll(".value > *");
      seen.textContent = text[tells](classOf(tile));
      said.textContent = { n: " particles", r: " reproduction" }[tells] ?? "";
    }
  }

  // CSS for the grey values slope * v + shift, v from 0 to 1. Each of its functions cuts at
  // black and white, so the one that narrows comes first.
  function filter(slope, shift) {
    if (slope === 1 && shift === 0) return "none";
    if (slope < 0) return `invert(1) ${filter(-slope, slope + shift)}`;
    if (shift < 0) return `brightness(${slope / (1 - 2 * shift)}) contrast(${1 - 2 * shift})`;
    return `contrast(${slope / (slope + 2 * shift)}) brightness(${slope + 2 * shift})`;
  }

  // Black and white of one grey scale for all: nearly the darkest and brightest of any.
  const ends = [0, 1].map((end) => {
    const sorted = [...classes.values()].flatMap((c) => (c.b ? [c.b[end]] : [])).sort((p, q) => p - q);
    return sorted[Math.round((end === 0 ? 0.05 : 0.95) * (sorted.length - 1))];
  });

  function look() {
    const [contrast, brightness] = [2 ** Number($("contrast").value), Number($("brightness").value)];
    for (const tile of tiles) {
      const { b } = classOf(tile);
      const one = $("common").checked && b && ends[1] > ends[0];
      const [black, white] = one ? b.map((end) => (end - ends[0]) / (ends[1] - ends[0])) : [0, 1];
      const [slope, shift] = [contrast * (white - black), contrast * (black - 0.5) + 0.5 + brightness];
      const css = $("inverted").checked ? filter(-slope, 1 - shift) : filter(slope, shift);
      tile.style.setProperty("--look", css);
    }
    detail.style.setProperty("--look", shown.style.getPropertyValue("--look"));
  }

  function show(tile, open) {
    const c = classOf(tile);
    for (const other of tiles) other.tabIndex = other === tile ? 0 : -1;
    if (shown) shown.removeAttribute("aria-current");
    shown = tile;
    tile.setAttribute("aria-current", "true");
    $("d-number").textContent = c.t ?? c.k;
    const image = tile.querySelector("img");
    for (const portrait of detail.querySelectorAll(".portrait img")) {
      portrait.hidden = !image;
      if (!image) continue;
      portrait.src = image.src;
      portrait.alt = `Average of class ${c.t ?? c.k}`;
    }
    detail.style.setProperty("--look", tile.style.getPropertyValue("--look"));
    for (const key of ["n", "e", "r", "d", "d143"]) {
      const fact = $(`d-${key}`);
      if (fact) fact.textContent = text[key](c);
    }
    if ($("d-g")) $("d-g").textContent = c.g;
    $("d-members").value = c.ids.map((id) => rows?.[id] ?? id).join(" ");
    drawCorrelation(c);
    drawSpread(c);
    for (const watch of watchers) watch(c);
    if (open) detail.classList.add("open");
  }

  function step(by) {
    const tile = tiles[tiles.indexOf(shown) + by];
    if (!tile) return;
    show(tile, false);
    tile.scrollIntoView({ block: "nearest" });
  }

  // How the members lie: a rose of their angles or a disc of their views, and their shifts.
  function drawSpread(c) {
    const svg = $("d-spread");
    svg.toggleAttribute("hidden", !c.s);
    if (!c.s) return;
    svg.replaceChildren();
    const add = (...what) => drawInto(svg, ...what);
    const [cx, cy, r] = [76, 78, 60];
    const label = (x, text) =>
      add("text", { x, y: 168, "text-anchor": "middle", class: "name" }, text);
    add("circle", { cx, cy, r, class: "rim" });
    if (c.a) {
      const sectors = new Array(24).fill(0);
      for (const angle of c.a) sectors[Math.floor((((angle % 360) + 360) % 360) / 15)] += 1;
      const most = Math.max(...sectors);
      const at = (angle, radius) => {
        const turn = (angle * Math.PI) / 180;
        return `${(cx + radius * Math.cos(turn)).toFixed(1)} ${(cy - radius * Math.sin(turn)).toFixed(1)}`;
      };
      sectors.forEach((n, i) => {
        if (n === 0) return;
        const radius = r * Math.sqrt(n / most); // areas tell the numbers
        const d = `M${cx} ${cy}L${at(15 * i + 1, radius)}A${radius} ${radius} 0 0 0 ${at(15 * i + 14, radius)}Z`;
        add("path", { d, class: "sector" });
      });
      add("text", { x: cx + r + 3, y: cy + 4 }, "0°");
      label(cx, c.w === undefined ? "angle" : `angle, ${Math.round((100 * c.w) / c.n)} % mirrored`);
    } else {
      const [x, y] = views;
      add("circle", { cx, cy, r: r * Math.SQRT1_2, class: "ring" }); // 60 degrees from the z axis
      for (const id of c.ids) {
        const [right, up] = [x[id], y[id]].map((part) => r * ((2 * part) / STEPS - 1));
        add("circle", { cx: cx + right, cy: cy - up, r: 2, class: "member" });
      }
      label(cx, "beam direction");
    }
    // Distances from the middle, to a round number that holds nearly all.
    const [sx, sy] = [240, 78];
    const far = c.s.map(([x, y]) => Math.hypot(x, y)).sort((p, q) => p - q);
    const reach = [1, 2, 3, 5, 10, 15, 20, 30, 50, 100, 200, 500].find(
      (limit) => limit >= far[Math.floor(0.98 * (far.length - 1))],
    ) ?? 1000;
    for (const part of [0.5, 1]) add("circle", { cx: sx, cy: sy, r: r * part, class: part === 1 ? "rim" : "ring" });
    for (const [x, y] of c.s) {
      const cut = Math.min(1, reach / (Math.hypot(x, y) || 1));
      add("circle", { cx: sx + (r * cut * x) / reach, cy: sy - (r * cut * y) / reach, r: 2, class: "member" });
    }
    add("text", { x: sx + r + 3, y: sy + 4 }, String(reach));
    label(sx, data.shift);
  }

  function drawCorrelation(c) {
    const svg = $("d-frc");
    svg.replaceChildren();
    const [left, right, top, floor] = [40, 318, 8, 140];
    const end = data.frequency.at(-1) || 0.5;
    const x = (f) => left + ((right - left) * f) / end;
    const y = (v) => floor - (floor - top) * Math.min(Math.max(v, -0.06), 1);
    const add = (...what) => drawInto(svg, ...what);
    for (const v of [0, 0.143, 0.5, 1]) {
      const kind = v === 0 ? "axis" : v === 1 ? "grid" : "zero";
      add("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: kind });
      add("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v);
    }
    for (let part = 1; part <= 5; part++) {
      const f = (end * part) / 5;
      const anchor = part === 5 ? "end" : "middle";
      const at = data.pixel === null ? f.toFixed(1) : (data.pixel / f).toFixed(1);
      add("text", { x: x(f), y: floor + 22, "text-anchor": anchor }, at);
    }
    const name = data.pixel === null ? "frequency [1/pixel]" : "resolution [Å]";
    add("text", { x: (left + right) / 2, y: 178, "text-anchor": "middle", class: "name" }, name);
    const points = c.f
      .map((v, i) => (v === null ? null : `${x(data.frequency[i]).toFixed(1)},${y(v / 1000).toFixed(1)}`))
      .filter((point) => point !== null);
    if (points.length === 0) {
      add("text", { x: (left + right) / 2, y: y(0.7), "text-anchor": "middle" }, "no correlation recorded");
      return;
    }
    add("polyline", { points: points.join(" "), class: "curve" });
    c.x.forEach((f, i) => {
      if (f !== null) add("circle", { cx: x(f), cy: y([0.5, 0.143][i]), r: 3.5, class: "cross" });
    });
  }

  function resize(width) {
    gallery.style.setProperty("--width", `${width}px`);
    gallery.classList.toggle("compact", width < Number(gallery.dataset.compact));
    label();
  }

  // Rows that are out of sight are not laid out; they count as high as the first one.
  new ResizeObserver(() => {
    gallery.style.setProperty("--row", `${tiles[0].offsetHeight}px`);
  }).observe(gallery);

  function close() {
    detail.classList.remove("open");
    if (shown) shown.focus();
  }

  gallery.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    tile.focus({ preventScroll: true }); // not every browser does so of itself
    show(tile, !event.defaultPrevented); // a click that picks opens nothing
    if (narrow.matches && !event.defaultPrevented) detail.focus({ preventScroll: true });
  });

  gallery.addEventListener("keydown", (event) => {
    const here = tiles.indexOf(document.activeElement);
    if (here < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const top = (tile) => tile.parentElement.offsetTop;
    const second = tiles.findIndex((tile) => top(tile) !== top(tiles[0]));
    const columns = second < 0 ? tiles.length : second;
    const to = {
      ArrowRight: here + 1,
      ArrowLeft: here - 1,
      ArrowDown: here + columns,
      ArrowUp: here - columns,
      Home: 0,
      End: tiles.length - 1,
    }[event.key];
    if (to === undefined || !tiles[to]) return;
    event.preventDefault();
    tiles[to].focus();
    show(tiles[to], false);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && detail.classList.contains("open")) close();
  });

  for (const id of ["key", "turn"]) $(id).addEventListener("change", sort);
  $("width").value = gallery.dataset.width;
  $("width").addEventListener("input", () => resize(Number($("width").value)));
  for (const id of ["contrast", "brightness", "inverted", "common"]) $(id).addEventListener("input", look);
  // By a class: with :has() each pick among a thousand classes took half as long again.
  $("masks")?.addEventListener("change", () => gallery.classList.toggle("masks"));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", close);
  $("copy").addEventListener("click", () => {
    $("d-members").select();
    // The newer way to copy is refused to a page that was opened from a file.
    const done = document.execCommand("copy");
    $("copy").textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => ($("copy").textContent = "Copy members"), 1500);
  });

  for (const node of gallery.parentElement.querySelectorAll(".scripted")) node.hidden = false;
  $("tools").hidden = false;
  detail.hidden = false;
  sort();
  show(tiles[0], false);
  return {
    tiles, // in the order shown
    classOf,
    current: () => shown,
    onShow(watch) {
      watchers.push(watch);
      watch(classOf(shown));
    },
  };
})();
