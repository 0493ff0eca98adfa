"use strict";
(() => {
  const gallery = document.getElementById("gallery");
  if (!gallery) return;
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const classes = new Map(data.classes.map((c) => [c.k, { ...c, n: c.m.length }]));
  const tiles = [...gallery.querySelectorAll(".tile")];
  const classOf = (tile) => classes.get(Number(tile.dataset.class));
  const detail = $("detail");
  const narrow = window.matchMedia("(max-width: 959.98px)");
  let shown = null;

  const NONE = "–";
  const unit = data.unit ?? "Å";
  const number = (value, digits, unit) =>
    value === null ? NONE : `${value.toFixed(digits)}\u00a0${unit}`;
  const text = {
    n: (c) => c.n.toLocaleString("en"),
    k: (c) => c.n.toLocaleString("en"),
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
    const sign = (descending[key] ? -1 : 1) * (reversed() ? -1 : 1);
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
    const tells = (key === "e" || key === "d") && !compact ? "n" : key;
    for (const tile of tiles) {
      tile.querySelector(".value").textContent = text[tells](classOf(tile));
    }
  }

  function reversed() {
    return $("turn").getAttribute("aria-pressed") === "true";
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
      portrait.alt = image.alt;
    }
    for (const key of ["n", "e", "r", "d", "d143"]) {
      const fact = $(`d-${key}`);
      if (fact) fact.textContent = text[key](c);
    }
    if ($("d-g")) $("d-g").textContent = c.g;
    let id = 0;
    $("d-members").value = c.m.map((step) => (id += step)).join(" ");
    drawCorrelation(c);
    if (open) detail.classList.add("open");
  }

  function step(by) {
    const tile = tiles[tiles.indexOf(shown) + by];
    if (!tile) return;
    show(tile, false);
    tile.scrollIntoView({ block: "nearest" });
  }

  function drawCorrelation(c) {
    const svg = $("d-frc");
    svg.replaceChildren();
    const [left, right, top, floor] = [30, 318, 8, 142];
    const end = data.frequency.at(-1) || 0.5;
    const x = (f) => left + ((right - left) * f) / end;
    const y = (v) => floor - (floor - top) * Math.min(Math.max(v, -0.05), 1);
    const add = (name, attributes, content) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      if (content !== undefined) node.textContent = content;
      svg.append(node);
    };
    for (const v of [0, 0.5, 1]) {
      add("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: v ? "grid" : "axis" });
      add("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v);
    }
    for (const v of [0.5, 0.143]) {
      add("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: "zero" });
      add("text", { x: right, y: y(v) - 4, "text-anchor": "end" }, v);
    }
    for (let part = 1; part <= 5; part++) {
      const f = (end * part) / 5;
      const anchor = part === 5 ? "end" : "middle";
      const at = data.pixel === null ? f.toFixed(1) : (data.pixel / f).toFixed(1);
      add("text", { x: x(f), y: floor + 15, "text-anchor": anchor }, at);
    }
    const name = data.pixel === null ? "frequency [1/pixel]" : "resolution [Å]";
    add("text", { x: (left + right) / 2, y: 176, "text-anchor": "middle", class: "name" }, name);
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

  function close() {
    detail.classList.remove("open");
    if (shown) shown.focus();
  }

  gallery.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    show(tile, true);
    if (narrow.matches) detail.focus({ preventScroll: true });
  });

  gallery.addEventListener("keydown", (event) => {
    const here = tiles.indexOf(document.activeElement);
    if (here < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const top = tiles[0].offsetTop;
    const second = tiles.findIndex((tile) => tile.offsetTop !== top);
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

  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("key").addEventListener("change", sort);
  $("turn").addEventListener("click", () => {
    $("turn").setAttribute("aria-pressed", String(!reversed()));
    sort();
  });
  $("width").value = gallery.dataset.width;
  $("width").addEventListener("input", () => resize(Number($("width").value)));
  const masks = $("masks");
  if (masks) masks.addEventListener("change", () => gallery.classList.toggle("masks", masks.checked));
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
})();
