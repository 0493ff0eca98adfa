// Picks classes to keep and to merge, and saves them as selection.yaml.
(() => {
  if (!galleryOfPage || galleryOfPage.data.unfinished) return;
  const { data, tiles, classOf, current, onShow } = galleryOfPage;
  const $ = (id) => document.getElementById(id);
  const gallery = $("gallery");
  const byNumber = new Map(tiles.map((tile) => [classOf(tile).k, tile]));
  // Classes that were merged may have names; the others are called by their numbers.
  const nameOf = (k) => classOf(byNumber.get(k)).t ?? String(k);
  const byName = new Map([...byNumber.keys()].map((k) => [nameOf(k), k]));
  const size = (k) => classOf(byNumber.get(k)).n;
  // `make select` serves the page with the name of the file that it writes.
  const served = document.querySelector('meta[name="selection-file"]')?.content;

  const picked = new Set();
  let groups = []; // sets of classes to be merged, each of at least two
  let joining = null; // the group that is being put together
  let anchor = null; // where a range begins
  let saved = true;

  const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
  const say = (text, wrong = false) => {
    $("s-message").textContent = text;
    $("s-message").classList.toggle("wrong", wrong);
  };

  // A, B, ..., Z, AA, AB, ...
  function letters(i) {
    return (i < 26 ? "" : letters(Math.floor(i / 26) - 1)) + String.fromCharCode(65 + (i % 26));
  }

  // What a screen reader says of a class.
  function spoken(c, letter) {
    const parts = [`Class ${nameOf(c.k)}`, count(c.n, "particle")];
    if (c.d !== null) parts.push(`resolution ${c.d.toFixed(1)} ${data.unit ?? "Å"}`);
    if (typeof c.e === "number") parts.push(`pixel error ${c.e.toFixed(2)}`);
    if (letter) parts.push(`to be merged in group ${letter}`);
    return parts.join(", ");
  }

  function refresh() {
    const letterOf = new Map();
    const lettered = joining && !groups.includes(joining) ? [...groups, joining] : groups;
    lettered.forEach((group, i) => group.forEach((k) => letterOf.set(k, letters(i))));
    let members = 0;
    for (const tile of tiles) {
      const c = classOf(tile);
      const on = picked.has(c.k);
      if (on) members += c.n;
      if ((tile.getAttribute("aria-selected") === "true") !== on) tile.setAttribute("aria-selected", String(on));
      const letter = letterOf.get(c.k) ?? "";
      if (tile.firstElementChild.dataset.group !== letter) {
        tile.firstElementChild.dataset.group = letter;
        tile.setAttribute("aria-label", spoken(c, letter));
      }
    }
    gallery.classList.toggle("some", picked.size > 0);
    $("s-count").textContent = picked.size
      ? `${picked.size.toLocaleString("en")} of ${count(tiles.length, "class")} · ${count(members, "particle")}`
      : `None of ${count(tiles.length, "class")} picked`;
    $("s-save").disabled = picked.size === 0;
    $("s-merge").setAttribute("aria-pressed", String(joining !== null));
    $("s-merge").textContent = joining ? "Merge: done" : "Merge";
    gallery.classList.toggle("merging", joining !== null);
    showPick(classOf(current()));
  }

  function changed() {
    saved = false;
    if (!joining) say("");
    refresh();
  }

  function unpick(k) {
    picked.delete(k);
    for (const group of groups) group.delete(k);
    groups = groups.filter((group) => group === joining || group.size > 1);
  }

  function pick(k, on) {
    if (on) picked.add(k);
    else unpick(k);
  }

  function toggle(tile) {
    const { k } = classOf(tile);
    anchor = tile;
    if (joining) join(k);
    else pick(k, !picked.has(k));
    changed();
  }

  // From the class that was picked last, in the order shown.
  function extend(tile) {
    const ends = [tiles.indexOf(anchor), tiles.indexOf(tile)].sort((p, q) => p - q);
    for (const between of tiles.slice(ends[0], ends[1] + 1)) picked.add(classOf(between).k);
    changed();
  }

  function pickWhere(wanted) {
    joining = null;
    for (const tile of tiles) pick(classOf(tile).k, wanted(classOf(tile)));
    groups = groups.filter((group) => group.size > 1);
    changed();
  }

  // Merging: first which classes, then done. A class is in one group at most.

  function join(k) {
    if (joining.delete(k)) return;
    for (const group of groups) group.delete(k);
    groups = groups.filter((group) => group === joining || group.size > 1);
    joining.add(k);
    picked.add(k);
  }

  function merge() {
    if (!joining) {
      const { k } = classOf(current());
      joining = groups.find((group) => group.has(k)) ?? new Set();
      if (joining.size === 0) join(k);
      say("Pick the classes to merge by click or space bar, then m again. Esc leaves them apart.");
      return refresh();
    }
    if (!groups.includes(joining) && joining.size > 1) groups.push(joining);
    groups = groups.filter((group) => group.size > 1);
    const done = joining;
    joining = null;
    changed();
    const members = [...done].reduce((sum, k) => sum + size(k), 0);
    if (done.size > 1) {
      const letter = letters(groups.indexOf(done));
      say(`Group ${letter}: ${count(done.size, "class")}, ${count(members, "particle")}; they become class ${nameOf(Math.min(...done))}.`);
    } else say("A group needs two classes.");
  }

  function stopMerging() {
    groups = groups.filter((group) => group !== joining);
    joining = null;
    changed();
  }

  // selection.yaml

  function toYaml() {
    const sorted = (set) => [...set].sort((p, q) => p - q);
    const written = (k) => (/^\d+$/.test(nameOf(k)) ? nameOf(k) : JSON.stringify(nameOf(k)));
    const list = (items) => `[${items.join(", ")}]`;
    const lines = [`run: ${JSON.stringify(data.run)}`];
    if (data.checksum) lines.push(`classes: ${data.checksum}`);
    lines.push(`keep: ${list(sorted(picked).map(written))}`);
    if (groups.length > 0) {
      const merged = groups.map(sorted).sort((p, q) => p[0] - q[0]);
      lines.push(`merge: ${list(merged.map((group) => list(group.map(written))))}`);
    }
    return `${lines.join("\n")}\n`;
  }

  // Understands what this page writes, and lists written by hand, [1, 2] or one a line.
  function fromYaml(text) {
    const entries = {};
    let key = null;
    for (const line of text.replace(/(^|\s)#.*$/gm, "$1").split(/\r?\n/)) {
      const start = /^(\w+)\s*:(.*)$/.exec(line);
      if (start) [key, entries[start[1]]] = [start[1], start[2].trim()];
      else if (key) entries[key] += ` ${line.trim()}`;
    }
    const plain = (entry) => (entry ?? "").trim().replace(/^(["'])(.*)\1$/, "$2");
    const names = (list) => (list.match(/"[^"]*"|'[^']*'|[^\s,[\]]+/g) ?? []).filter((word) => word !== "-").map(plain);
    return {
      run: plain(entries.run),
      classes: plain(entries.classes),
      keep: names(entries.keep ?? ""),
      merge: (entries.merge?.match(/\[[^[\]]*\]/g) ?? []).map(names).filter((group) => group.length > 0),
    };
  }

  function load(selection, name) {
    const refuse = (why) => say(`${name} was not read: ${why}`, true);
    const unknown = [...selection.keep, ...selection.merge.flat()].find((name) => !byName.has(name));
    if (selection.run && selection.run !== data.run) return refuse(`it is of the run ${selection.run}.`);
    if (selection.classes && data.checksum && selection.classes !== data.checksum) {
      return refuse("it was made for other classes; the run has been made again since.");
    }
    if (selection.keep.length === 0) return refuse("it keeps no class.");
    if (unknown !== undefined) return refuse(`there is no class ${unknown}.`);
    joining = null;
    picked.clear();
    for (const name of selection.keep) picked.add(byName.get(name));
    groups = selection.merge.map((group) => new Set(group.map((name) => byName.get(name)))).filter((group) => group.size > 1);
    for (const group of groups) for (const k of group) picked.add(k);
    refresh();
    saved = true;
    say(`Read ${name}.`);
  }

  async function save() {
    if (picked.size === 0) return say("Pick at least one class to keep.", true);
    if (joining) merge();
    const text = toYaml();
    if (!served) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
      link.download = "selection.yaml";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      saved = true;
      return say(`Saved as selection.yaml; put it to config/selection/${data.run}.yaml.`);
    }
    try {
      const answer = await fetch("selection.yaml", { method: "PUT", body: text });
      const sentence = await answer.text();
      saved = answer.ok;
      say(sentence, !answer.ok);
    } catch {
      say("The server does not answer; start make select again, or open the report as a file.", true);
    }
  }

  // Thresholds: of each quantity a histogram and a slider below it.

  const QUANTITIES = [
    { key: "n", name: "size", atLeast: true, digits: 0, unit: "" },
    { key: "d", name: "resolution", atLeast: false, digits: 1, unit: `\u00a0${data.unit ?? "Å"}` },
    { key: "e", name: "pixel error", atLeast: false, digits: 2, unit: "\u00a0px" },
  ];

  function makeLimit({ key, name, atLeast, digits, unit }) {
    const values = tiles.map((tile) => classOf(tile)[key]).filter((v) => v !== null && v !== undefined);
    const scale = 10 ** digits;
    const low = Math.floor(Math.min(...values) * scale) / scale;
    const high = Math.ceil(Math.max(...values) * scale) / scale;
    if (!(high > low)) return null; // nothing to tell apart
    const label = document.createElement("label");
    label.className = "limit-of";
    label.innerHTML = '<span class="said"></span><svg viewBox="0 0 120 28" preserveAspectRatio="none" aria-hidden="true"></svg><input type="range">';
    const [said, svg, slider] = label.children;
    Object.assign(slider, { id: `limit-${key}`, min: low, max: high, step: 1 / scale });
    slider.value = atLeast ? low : high;
    const bins = new Array(30).fill(0);
    const binOf = (v) => Math.min(29, Math.floor((30 * (v - low)) / (high - low)));
    for (const v of values) bins[binOf(v)] += 1;
    const most = Math.max(...bins);
    const bars = bins.map((n, i) => {
      const height = n === 0 ? 0 : Math.max(1.5, (28 * n) / most);
      return drawInto(svg, "rect", { x: 4 * i, y: 28 - height, width: 3.4, height });
    });
    const limit = () => Number(slider.value);
    const off = () => (atLeast ? limit() <= low : limit() >= high);
    // What is unknown passes while the slider stands at its end.
    const passes = (c) => {
      const value = c[key];
      if (off()) return true;
      return value !== null && value !== undefined && (atLeast ? value >= limit() : value <= limit());
    };
    const write = () => {
      const sign = atLeast ? "≥" : "≤";
      const text = off() ? `any ${name}` : `${name} ${sign} ${limit().toFixed(digits)}${unit}`;
      said.textContent = text;
      slider.setAttribute("aria-label", name);
      slider.setAttribute("aria-valuetext", text);
      const at = binOf(limit());
      bars.forEach((bar, i) => bar.setAttribute("class", (atLeast ? i >= at : i <= at) ? "mark" : "pale"));
    };
    slider.addEventListener("input", () => {
      write();
      pickWhere((c) => limits.every((other) => other.passes(c)));
    });
    write();
    $("limits").append(label);
    return { passes };
  }

  const limits = QUANTITIES.map(makeLimit).filter((limit) => limit !== null);

  // Mouse

  for (const tile of tiles) {
    const corner = document.createElement("span");
    corner.className = "pick";
    tile.firstElementChild.append(corner);
    tile.setAttribute("role", "option");
    tile.setAttribute("aria-selected", "false");
    tile.parentElement.setAttribute("role", "none");
  }
  gallery.setAttribute("role", "listbox");
  gallery.setAttribute("aria-multiselectable", "true");
  gallery.setAttribute("aria-label", "Class averages");

  gallery.addEventListener(
    "click",
    (event) => {
      const tile = event.target.closest(".tile");
      if (!tile) return;
      anchor ??= current();
      if (event.shiftKey) extend(tile);
      else if (joining || event.ctrlKey || event.metaKey || event.target.closest(".pick")) toggle(tile);
      else return void (anchor = tile);
      event.preventDefault(); // the click is used up
    },
    true,
  );

  // Keyboard

  const within = () => tiles.includes(document.activeElement);
  const writing = (target) => target.matches("input:not([type=range], [type=checkbox]), textarea, select");

  gallery.addEventListener("keydown", (event) => {
    const moves = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
    if (within() && moves.includes(event.key)) {
      anchor = event.shiftKey ? (anchor ?? event.target.closest(".tile")) : null;
      if (event.shiftKey) extend(document.activeElement);
    } else if (event.key === " " && within()) {
      event.preventDefault();
      toggle(document.activeElement);
    }
  });
  // A button is pressed when its key comes up.
  gallery.addEventListener("keyup", (event) => event.key === " " && event.preventDefault());

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || writing(event.target)) return;
    const does = {
      a: () => pickWhere(() => true),
      n: () => pickWhere(() => false),
      i: () => pickWhere((c) => !picked.has(c.k)),
      m: merge,
      s: save,
    }[event.key];
    if (does) {
      event.preventDefault();
      does();
    } else if (event.key === "Escape" && joining) stopMerging();
  });

  // Buttons, the panel of the class, files

  function showPick(c) {
    $("d-pick").setAttribute("aria-pressed", String(picked.has(c.k)));
    $("d-pick").textContent = picked.has(c.k) ? "Picked" : "Pick";
  }

  $("d-pick").hidden = false;
  $("d-pick").addEventListener("click", () => toggle(current()));
  $("s-all").addEventListener("click", () => pickWhere(() => true));
  $("s-none").addEventListener("click", () => pickWhere(() => false));
  $("s-invert").addEventListener("click", () => pickWhere((c) => !picked.has(c.k)));
  $("s-merge").addEventListener("click", merge);
  $("s-limits").hidden = limits.length === 0;
  $("s-limits").addEventListener("click", () => {
    $("limits").hidden = !$("limits").hidden;
    $("s-limits").setAttribute("aria-expanded", String(!$("limits").hidden));
  });
  $("s-form").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  const read = async (file) => load(fromYaml(await file.text()), file.name);
  $("s-open").addEventListener("click", () => $("s-file").click());
  $("s-file").addEventListener("change", () => {
    if ($("s-file").files.length > 0) read($("s-file").files[0]);
    $("s-file").value = "";
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer?.files ?? [];
    if (file) read(file);
  });
  window.addEventListener("beforeunload", (event) => {
    if (!saved) event.preventDefault();
  });

  $("selection").hidden = false;
  if (served) {
    $("s-save").title = `Save ${served} (s)`;
    fetch("selection.yaml").then(async (answer) => {
      if (answer.status === 200) load(fromYaml(await answer.text()), served);
    });
  }
  onShow(showPick);
  refresh();
})();
