// Picks classes to keep and to merge, and saves them; whatever changes them can be taken back.
(() => {
  if (!galleryOfPage || data.unfinished) return;
  const { tiles, classOf, current, onShow } = galleryOfPage;
  const gallery = $("gallery");
  const byNumber = new Map(tiles.map((tile) => [classOf(tile).k, classOf(tile)]));
  const numbers = [...byNumber.keys()];
  // Classes that were merged may have names; the others are called by their numbers.
  const nameOf = (k) => byNumber.get(k).t ?? String(k);
  const byName = new Map(numbers.map((k) => [nameOf(k), k]));

  let picked = new Set();
  let aside = new Set(); // what was picked before thresholds took it away
  let groups = []; // sets of classes to be merged
  let joining = null; // the group that is being put together
  let anchor = null; // where a range begins
  let saved = true;
  let sliding = false; // all of one pull at a slider is one change
  let past = []; // what there was before each change, to be taken back
  let future = []; // what was taken back
  const texts = new Map(); // name of a selection: what was saved under it

  const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
  const say = (text, wrong = false) => {
    $("s-message").textContent = text;
    $("s-message").classList.toggle("wrong", wrong);
  };

  // Changes

  const copy = () => ({
    picked: new Set(picked),
    aside: new Set(aside),
    groups: groups.map((group) => new Set(group)),
    values: limits.map((limit) => limit.value()),
  });

  function remember() {
    past = [...past.slice(-500), copy()];
    [future, sliding] = [[], false];
  }

  function change(act, ...given) {
    remember();
    if (!joining) say("");
    act(...given);
    saved = false;
    refresh();
  }

  function travel(from, to) {
    const before = from.pop();
    if (!before) return;
    to.push(copy());
    ({ picked, aside, groups } = before);
    limits.forEach((limit, i) => limit.set(before.values[i]));
    [joining, saved, sliding] = [null, false, false];
    say(`${to === future ? "Taken back" : "Done again"}.`);
    refresh();
  }
  const undo = () => travel(past, future);
  const redo = () => travel(future, past);

  // A class that thresholds have taken away is merged with none until it comes back.
  const merged = () =>
    groups
      .map((group) => [group, [...group].filter((k) => picked.has(k)).sort((p, q) => p - q)])
      .filter(([group, members]) => members.length > 1 || group === joining);

  function pick(k, on) {
    aside.delete(k);
    if (on) return void picked.add(k);
    picked.delete(k);
    for (const group of groups) group.delete(k);
  }

  function pickWhere(wanted) {
    joining = null;
    const on = numbers.filter((k) => wanted(k));
    aside.clear();
    limits.forEach((limit) => limit.set());
    for (const k of numbers) pick(k, false);
    for (const k of on) pick(k, true);
  }

  const all = () => change(pickWhere, () => true);
  const none = () => change(pickWhere, () => false);
  const invert = () => change(pickWhere, (k) => !picked.has(k));

  function toggle(tile) {
    const { k } = classOf(tile);
    anchor = tile;
    if (!joining) return change(pick, k, !picked.has(k));
    join(k);
    refresh();
  }

  // From the class that was picked last, in the order shown.
  function extend(tile) {
    const ends = [tiles.indexOf(anchor), tiles.indexOf(tile)].sort((p, q) => p - q);
    change(() => tiles.slice(ends[0], ends[1] + 1).forEach((between) => pick(classOf(between).k, true)));
  }

  // Thresholds take away from what is picked, and from all classes where nothing is.
  function narrow() {
    joining = null;
    const before = picked.size + aside.size;
    const from = before ? [...picked, ...aside] : numbers;
    const passes = (k) => limits.every((limit) => limit.passes(byNumber.get(k)));
    picked = new Set(from.filter(passes));
    aside = new Set(from.filter((k) => !picked.has(k)));
    say(
      `${before ? "Of" : "Nothing was picked: of all"} ${count(from.length, before ? "picked class" : "class")}` +
        ` ${picked.size.toLocaleString("en")} pass${picked.size === 1 ? "es" : ""} the thresholds` +
        (aside.size ? `; ${aside.size.toLocaleString("en")} come back, with their groups, when a slider is moved back.` : "."),
    );
  }

  // Merging: first which classes, then done; all of it is one change. A class is in one
  // group at most.

  function join(k) {
    if (joining.delete(k)) return;
    for (const group of groups) group.delete(k);
    joining.add(k);
    pick(k, true);
  }

  function merge() {
    if (!joining) {
      const { k } = classOf(current());
      return change(() => {
        joining = groups.find((group) => group.has(k) && picked.has(k)) ?? new Set();
        groups = [...groups.filter((group) => group !== joining), joining];
        if (joining.size === 0) join(k);
        say("Pick the classes to merge by click or space bar, then m again. Esc leaves them apart.");
      });
    }
    const done = joining;
    joining = null;
    const at = merged().findIndex(([group]) => group === done);
    if (at < 0) {
      groups = groups.filter((group) => group !== done);
      say("A group needs two classes.");
    } else {
      const [, members] = merged()[at];
      const particles = members.reduce((sum, k) => sum + byNumber.get(k).n, 0);
      say(`Group ${letters(at)}: ${count(members.length, "class")}, ${count(particles, "particle")}; they become class ${nameOf(members[0])}.`);
    }
    refresh();
  }

  function stopMerging() {
    groups = groups.filter((group) => group !== joining);
    joining = null;
    say("");
    refresh();
  }

  // What is seen

  // A, B, ..., Z, AA, AB, ...
  function letters(i) {
    return (i < 26 ? "" : letters(Math.floor(i / 26) - 1)) + String.fromCharCode(65 + (i % 26));
  }

  function refresh() {
    const letterOf = new Map();
    merged().forEach(([, members], i) => members.forEach((k) => letterOf.set(k, letters(i))));
    let particles = 0;
    for (const tile of tiles) {
      const { k, n } = classOf(tile);
      const on = picked.has(k);
      if (on) particles += n;
      if ((tile.getAttribute("aria-selected") === "true") !== on) tile.setAttribute("aria-selected", String(on));
      const letter = letterOf.get(k) ?? "";
      const mark = tile.lastElementChild;
      if (mark.dataset.letter === letter) continue;
      mark.dataset.letter = mark.lastChild.textContent = letter;
      mark.hidden = !letter;
    }
    $("s-count").textContent = picked.size
      ? `${picked.size.toLocaleString("en")} of ${count(tiles.length, "class")} · ${count(particles, "particle")}`
      : `None of ${count(tiles.length, "class")} picked`;
    $("s-save").disabled = picked.size === 0;
    $("s-undo").disabled = past.length === 0;
    $("s-redo").disabled = future.length === 0;
    $("s-merge").setAttribute("aria-pressed", String(joining !== null));
    $("s-merge").textContent = joining ? "Merge: done" : "Merge";
    gallery.classList.toggle("merging", joining !== null);
    showPick(classOf(current()));
  }

  function showPick(c) {
    $("d-pick").setAttribute("aria-pressed", String(picked.has(c.k)));
    $("d-pick").textContent = picked.has(c.k) ? "Picked" : "Pick";
  }

  // Thresholds: of each quantity a histogram and a slider below it.

  const QUANTITIES = [
    { key: "n", name: "size", atLeast: true, digits: 0, unit: "" },
    { key: "d", name: "resolution", atLeast: false, digits: 1, unit: `\u00a0${data.unit ?? "Å"}` },
    { key: "e", name: "pixel error", atLeast: false, digits: 2, unit: "\u00a0px" },
    { key: "r", name: "reproduction", atLeast: true, digits: 0, unit: "\u00a0%", factor: 100 },
  ];

  function makeLimit({ key, name, atLeast, digits, unit, factor = 1 }) {
    const known = (c) => (typeof c[key] === "number" ? factor * c[key] : null);
    const values = [...byNumber.values()].map(known).filter((v) => v !== null);
    const scale = 10 ** digits;
    const low = Math.floor(Math.min(...values) * scale) / scale;
    const high = Math.ceil(Math.max(...values) * scale) / scale;
    if (!(high > low)) return null; // nothing to tell apart
    const label = document.createElement("label");
    label.className = "limit-of";
    label.innerHTML = '<span class="said"></span><svg viewBox="0 0 120 28" preserveAspectRatio="none" aria-hidden="true"></svg><input type="range">';
    const [said, svg, slider] = label.children;
    Object.assign(slider, { id: `limit-${key}`, min: low, max: high, step: 1 / scale });
    const bins = new Array(30).fill(0);
    const binOf = (v) => Math.min(29, Math.floor((30 * (v - low)) / (high - low)));
    for (const v of values) bins[binOf(v)] += 1;
    const most = Math.max(...bins);
    const bars = bins.map((n, i) => {
      const height = n === 0 ? 0 : Math.max(1.5, (28 * n) / most);
      return drawInto(svg, "rect", { x: 4 * i, y: 28 - height, width: 3.4, height });
    });
    let value = null;
    const off = () => (atLeast ? value <= low : value >= high);
    // What is unknown passes while the slider stands at its end.
    const passes = (c) => off() || (known(c) !== null && (atLeast ? known(c) >= value : known(c) <= value));
    const set = (to = atLeast ? low : high) => {
      slider.value = to;
      value = Number(slider.value);
      const text = off() ? `any ${name}` : `${name} ${atLeast ? "≥" : "≤"} ${value.toFixed(digits)}${unit}`;
      said.textContent = text;
      slider.setAttribute("aria-label", name);
      slider.setAttribute("aria-valuetext", text);
      const at = binOf(value);
      bars.forEach((bar, i) => bar.setAttribute("class", (atLeast ? i >= at : i <= at) ? "mark" : "pale"));
    };
    slider.addEventListener("input", () => {
      if (!sliding) remember();
      [sliding, saved] = [true, false];
      set(slider.value);
      narrow();
      refresh();
    });
    slider.addEventListener("change", () => (sliding = false));
    set();
    $("limits").append(label);
    return { value: () => value, set, passes };
  }

  const limits = QUANTITIES.map(makeLimit).filter((limit) => limit !== null);

  // The file of a selection: config/selection/<run>.yaml, or <run>.<name>.yaml

  const name = () => $("s-name").value.trim();
  const fileOf = (name) => `${data.run}${name && `.${name}`}.yaml`;

  function toYaml() {
    const written = (k) => (/^\d+$/.test(nameOf(k)) ? nameOf(k) : JSON.stringify(nameOf(k)));
    const list = (items) => `[${items.join(", ")}]`;
    const lines = [`run: ${JSON.stringify(data.run)}`];
    if (data.checksum) lines.push(`classes: ${data.checksum}`);
    lines.push(`keep: ${list([...picked].sort((p, q) => p - q).map(written))}`);
    const joined = merged().map(([, members]) => members).sort((p, q) => p[0] - q[0]);
    if (joined.length > 0) lines.push(`merge: ${list(joined.map((members) => list(members.map(written))))}`);
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

  function load(text, source) {
    const selection = fromYaml(text);
    const refuse = (why) => say(`${source} was not read: ${why}`, true);
    const unknown = [...selection.keep, ...selection.merge.flat()].find((name) => !byName.has(name));
    if (selection.run && selection.run !== data.run) return refuse(`it is of the run ${selection.run}.`);
    if (selection.classes && data.checksum && selection.classes !== data.checksum) {
      return refuse("it was made for other classes; the run has been made again since.");
    }
    if (selection.keep.length === 0) return refuse("it keeps no class.");
    if (unknown !== undefined) return refuse(`there is no class ${unknown}.`);
    const [run, ...rest] = source.split(".");
    if (run === data.run && rest.at(-1) === "yaml") $("s-name").value = rest.slice(0, -1).join(".");
    change(() => {
      pickWhere((k) => selection.keep.includes(nameOf(k)));
      groups = selection.merge.map((group) => new Set(group.map((name) => byName.get(name))));
      for (const k of groups.flatMap((group) => [...group])) pick(k, true);
    });
    saved = true;
    say(`Read ${source}.`);
  }

  async function save() {
    if (picked.size === 0) return say("Pick at least one class to keep.", true);
    if (!$("s-name").checkValidity()) return say("A name has letters, digits, - and _ alone.", true);
    if (joining) merge();
    const [text, called, file] = [toYaml(), name(), fileOf(name())];
    let said = `Saved as ${file}; put it into config/selection/.`;
    if (served) {
      try {
        const answer = await fetch(called ? `selection.${called}.yaml` : "selection.yaml", { method: "PUT", body: text });
        said = await answer.text();
        if (!answer.ok) return say(said, true);
      } catch {
        return say("The server does not answer; start make select again, or open the report as a file.", true);
      }
    } else {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
      link.download = file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
    saved = true;
    keepText(called, text);
    say(said);
  }

  function keepText(called, text) {
    texts.set(called, text);
    const buttons = [...texts.keys()].map((one) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: one || "no name" });
      button.title = `Go on with ${fileOf(one)}`;
      button.addEventListener("click", () => load(texts.get(one), fileOf(one)));
      return button;
    });
    $("s-saved").replaceChildren(...buttons);
    $("s-saved").hidden = false;
  }

  async function takeUp() {
    const answer = await fetch("selections.json");
    for (const [called, text] of Object.entries(await answer.json())) keepText(called, text);
    const first = texts.has("") ? "" : [...texts.keys()][0];
    if (first === undefined) return;
    load(texts.get(first), fileOf(first));
    past = []; // there was nothing before
    refresh();
  }

  // Mouse

  for (const tile of tiles) {
    tile.firstElementChild.insertAdjacentHTML("beforeend", '<span class="pick"></span>');
    tile.insertAdjacentHTML("beforeend", '<span class="group" hidden><span class="unseen">to be merged in group </span><b></b></span>');
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

  // Keyboard: letters count while a class has the focus alone, so that nobody who dictates
  // or searches in the page picks by mistake.

  gallery.addEventListener("keydown", (event) => {
    const moves = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
    const tile = document.activeElement; // that of the gallery's own listener, which went there
    if (event.altKey || event.ctrlKey || event.metaKey || !tiles.includes(tile)) return;
    if (moves.includes(event.key)) {
      anchor = event.shiftKey ? (anchor ?? event.target.closest(".tile")) : null;
      if (event.shiftKey) extend(tile);
      return;
    }
    const does = { " ": () => toggle(tile), a: all, n: none, i: invert, m: merge, u: undo, s: save }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
  // A button is pressed when its key comes up.
  gallery.addEventListener("keyup", (event) => event.key === " " && event.preventDefault());

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && joining) stopMerging();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.key.toLowerCase() !== "z") return;
    if (event.target.matches("input:not([type=range], [type=checkbox]), textarea")) return;
    event.preventDefault();
    (event.shiftKey ? redo : undo)();
  });

  // Buttons, the panel of the class, files

  const press = { "s-all": all, "s-none": none, "s-invert": invert, "s-merge": merge, "s-undo": undo, "s-redo": redo };
  for (const [id, does] of Object.entries(press)) $(id).addEventListener("click", does);
  $("d-pick").hidden = false;
  $("d-pick").addEventListener("click", () => toggle(current()));
  $("s-limits").hidden = limits.length === 0;
  $("s-limits").addEventListener("click", () => {
    $("limits").hidden = !$("limits").hidden;
    $("s-limits").setAttribute("aria-expanded", String(!$("limits").hidden));
  });
  $("s-form").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  const read = async (file) => load(await file.text(), file.name);
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
  if (served) takeUp();
  onShow(showPick);
  refresh();
})();
