"use strict";

// What the page shows. A row is [scope, rule, call, shape, dtype, values, inputs, cotangents, shares]; values,
// cotangents and shares are numbers of summaries in the pool, -1 where there is none.
const data = JSON.parse(document.getElementById("data").textContent);
const [SCOPE, RULE, CALL, SHAPE, DTYPE, VALUES, INPUTS, COTANGENTS, SHARES] = Array(9).keys();
const { rows, pool, leaves } = data;
const count = rows.length;
const steps = data.released ? count : 2 * count;
const ROW = 26;
const MOST = 24; // arrays shown of one kind: a stack over time has hundreds
const LONG = 160; // characters of a call

const by = (id) => document.getElementById(id);
const [slider, table, list, panel, picture] = ["slider", "table", "rows", "entry", "diagram"].map(by);
const dark = matchMedia("(prefers-color-scheme: dark)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let step = 0; // 0 .. count - 1 forwards, then backwards
let chosen = -1; // the row under the pointer, or chosen by keys in the table
let timer = null;

const isBackward = () => step >= count;
const entryAt = (s) => (s < count ? s : 2 * count - 1 - s);
// Of the cotangent nothing is said before the way back.
function flagsOf(entry, backward) {
  const [values, cotangents] = data.flags[entry] || [[], []];
  return backward ? [...values, ...cotangents] : values;
}
const stepOf = (entry) => (isBackward() ? 2 * count - 1 - entry : entry);

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- arrays

// Viridis for values of one sign, blue to orange through the page's own middle for both.
const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37]];
const BLUE = [0, 114, 178];
const ORANGE = [213, 94, 0];
const STRANGE = [204, 121, 167];

function mix(a, b, part) {
  return a.map((v, k) => Math.round(v + (b[k] - v) * part));
}

function colour(value, low, high) {
  if (!Number.isFinite(value)) return STRANGE;
  if (low >= 0) {
    const at = high > low ? ((value - low) / (high - low)) * (VIRIDIS.length - 1) : 0;
    const k = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return mix(VIRIDIS[k], VIRIDIS[k + 1], at - k);
  }
  const most = Math.max(-low, high, Number.MIN_VALUE);
  const middle = dark.matches ? [42, 47, 55] : [244, 244, 244];
  return mix(middle, value < 0 ? BLUE : ORANGE, Math.min(1, Math.abs(value) / most));
}

const short = (text) => (text.length > LONG ? `${text.slice(0, LONG)} …` : text);
const rgb = (c) => `rgb(${c.join(",")})`;
const inkOn = (c) => (0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] > 140 ? "#000" : "#fff");
const show = (v) => (typeof v === "string" ? { NaN: "NaN", Infinity: "∞", "-Infinity": "−∞" }[v] : String(v).replace("-", "−"));

function figure(label, index, missing) {
  const caption = element("figcaption", "", element("b", "", label), " ");
  if (index === -1) return element("figure", "", caption, element("p", "none", missing));
  const [rowCount, columnCount, ...rest] = pool[index];
  const size = rowCount * columnCount;
  if (!size) return element("figure", "", caption, element("p", "none", `${rowCount} × ${columnCount}: no elements`));
  if (Array.isArray(rest[0])) {
    const numbers = rest[0].map(Number);
    const finite = numbers.filter(Number.isFinite);
    const low = Math.min(...finite, Infinity);
    const high = Math.max(...finite, -Infinity);
    const grid = element("table", "values");
    grid.setAttribute("aria-label", label);
    for (let r = 0; r < rowCount; r++) {
      const line = grid.insertRow();
      for (let c = 0; c < columnCount; c++) {
        const at = r * columnCount + c;
        const cell = line.insertCell();
        const shade = colour(numbers[at], low, high);
        cell.textContent = show(rest[0][at]);
        cell.style.background = rgb(shade);
        cell.style.color = inkOn(shade);
        if (!Number.isFinite(numbers[at])) cell.className = "strange";
      }
    }
    return element("figure", "", caption, scrolled(grid));
  }
  const [down, across, low, high, norm, nans, infinities, levels] = rest;
  const canvas = element("canvas");
  canvas.width = across;
  canvas.height = down;
  const scale = Math.max(4, Math.min(16, Math.floor(220 / Math.max(across, down))));
  canvas.style.width = `${across * scale}px`;
  canvas.style.height = `${down * scale}px`;
  const bytes = atob(levels);
  const context = canvas.getContext("2d");
  const image = context.createImageData(across, down);
  for (let k = 0; k < bytes.length; k++) {
    const level = bytes.charCodeAt(k);
    const value = level > 250 ? NaN : low + (high / 250 - low / 250) * level;
    image.data.set([...colour(value, low, high), 255], 4 * k);
  }
  context.putImageData(image, 0, 0);
  const strange = [nans ? `${nans} NaN` : "", infinities ? `${infinities} infinite` : ""].filter(Boolean).join(", ");
  const partial = down < rowCount || across < columnCount ? `; ${down} × ${across} of ${rowCount} × ${columnCount} shown` : "";
  const finite = nans + infinities < size ? `from ${show(low)} to ${show(high)}, norm ${show(norm)}` : "nothing finite";
  const facts = finite + partial;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${label}: ${rowCount} × ${columnCount}, ${facts} ${strange}`);
  caption.append(facts, strange ? element("span", "flag", ` ${strange}`) : "");
  return element("figure", "", canvas, caption);
}

function scrolled(grid) {
  const box = element("div");
  box.style.overflow = "auto";
  box.append(grid);
  return box;
}

// ---- the entry at this step

function nameOf(input) {
  if (typeof input === "number") return input < 0 ? leaves[-1 - input][0] : `%${input + 1}`;
  return typeof input[0] === "string" ? input[0] : `%${input[0] + 1}.${input[1]}`;
}

function valueOf(input) {
  if (typeof input === "number") return input < 0 ? leaves[-1 - input][3] : rows[input][VALUES][0];
  return typeof input[0] === "string" ? input[1] : rows[input[0]][VALUES][input[1]];
}

/** At most so many of the items, drawn, and a word on the others. */
function first(items, draw) {
  const rest = items.length - MOST;
  return [...items.slice(0, MOST).map(draw), ...(rest > 0 ? [element("p", "none", `and ${rest} more`)] : [])];
}

const section = (title, ...children) => [element("h3", "", title), ...children];
const several = (name, numbers, missing) =>
  element("div", "arrays", ...first(numbers, (index, k) => figure(numbers.length > 1 ? `${name}.${k}` : name, index, missing)));

/** A docstring, with code between double backquotes. */
const explained = (doc) => element("p", "doc", ...doc.split("``").map((text, k) => (k % 2 ? element("code", "", text) : text)));

function facts(pairs) {
  const made = element("dl");
  for (const [name, text] of pairs) made.append(element("dt", "", name), element("dd", "", text));
  return made;
}

function showEntry() {
  const number = entryAt(step);
  const row = rows[number];
  const name = `%${number + 1}`;
  const [, doc, forward, rules] = data.rules[row[RULE]];
  const way = isBackward() ? "backward" : "forward";
  const flags = flagsOf(number, isBackward()).map((text) => element("span", "badge flag", `! ${text}`));
  const parts = [
    element("h2", "", `${name} = ${short(row[CALL])}`),
    element("p", "", element("span", `badge ${way}`, way), ...flags),
    facts([["scope", data.scopes[row[SCOPE]] || "(none)"], ["shape", row[SHAPE]], ["dtype", row[DTYPE]]]),
  ];
  const inputs = row[INPUTS].map((input) => [nameOf(input), valueOf(input)]).filter(([, index]) => index !== -2);
  const ins = inputs.length ? section("Inputs", element("div", "arrays", ...first(inputs, ([label, index]) => figure(label, index, "value not kept")))) : [];
  const out = section("Value", several(name, row[VALUES], "not kept"));
  if (isBackward()) {
    const arrived = row[COTANGENTS];
    parts.push(
      ...section(`Incoming cotangent, dL/d${name}`, arrived ? several(`dL/d${name}`, arrived, "not computed: nothing arrived") : element("p", "none", "not computed: nothing arrived")),
    );
    if (arrived) {
      const named = row[SHARES].map((share, k) => [nameOf(row[INPUTS][k]), share]).filter(([, share]) => share);
      const given = first(named, ([label, [share, total]]) => {
        const sum = share === total ? element("p", "none", "the first to arrive there") : figure(`dL/d${label} so far`, total, "");
        return element("div", "arrays", figure(`to dL/d${label}`, share, ""), sum);
      });
      parts.push(...section("What its rule gives, and what has added up there", ...given));
    }
    parts.push(...section("Local rule", element("pre", "", rules)), explained(doc), ...out, ...ins);
  } else {
    parts.push(...ins, ...out, ...section("Operation", explained(doc), element("pre", "", forward)), ...section("Its gradient rule", element("pre", "", rules)));
  }
  panel.replaceChildren(...parts);
}

function showGradients() {
  const found = first(leaves, ([name, shape, dtype, , gradient]) => {
    const made = figure(`dL/d${name}`, gradient, "not computed");
    made.querySelector("figcaption").append(` ${shape} ${dtype}`);
    return made;
  });
  panel.append(...section("The gradients, complete", element("div", "arrays", ...found)));
}

// ---- the table: only the rows that can be seen are there

const drawn = new Map();

function passed(number) {
  if (!isBackward()) return number <= step ? "forward" : "";
  return number >= entryAt(step) && rows[number][COTANGENTS] ? "backward" : "forward";
}

function fillRow(number) {
  const row = rows[number];
  const made = element("div", "", ...[`%${number + 1}`, short(row[CALL]), row[SHAPE], row[DTYPE], data.scopes[row[SCOPE]]].map((text) => cell(text)), cell("", "flag"));
  made.id = `row-${number}`;
  made.setAttribute("role", "row");
  made.setAttribute("aria-rowindex", number + 2);
  made.style.top = `${number * ROW}px`;
  made.dataset.row = number;
  return made;
}

function cell(text, className = "") {
  const made = element("span", className, text);
  made.setAttribute("role", "gridcell");
  made.title = text;
  return made;
}

function drawTable() {
  const first = Math.max(0, Math.floor(table.scrollTop / ROW) - 8);
  const last = Math.min(count - 1, Math.ceil((table.scrollTop + table.clientHeight) / ROW) + 8);
  for (const [number, made] of drawn) {
    if ((number < first || number > last) && number !== chosen) {
      made.remove();
      drawn.delete(number);
    }
  }
  const wanted = chosen >= 0 ? [chosen] : [];
  for (let number = first; number <= last; number++) wanted.push(number);
  for (const number of wanted) {
    if (!drawn.has(number)) drawn.set(number, list.appendChild(fillRow(number)));
    const made = drawn.get(number);
    const flags = flagsOf(number, passed(number) === "backward").map((text) => `! ${text}`).join("; ");
    made.lastChild.textContent = made.lastChild.title = flags;
    const now = number === entryAt(step);
    made.className = `${passed(number)}${now ? " now" : ""}${number === chosen ? " chosen" : ""}`;
    if (now) made.setAttribute("aria-current", "step");
    else made.removeAttribute("aria-current");
    made.setAttribute("aria-selected", String(number === chosen));
  }
}

function reveal(number) {
  const top = number * ROW;
  const room = table.clientHeight - ROW;
  if (top < table.scrollTop) table.scrollTop = top;
  else if (top + ROW > table.scrollTop + room) table.scrollTop = top + ROW - room;
}

// ---- the diagram

const shapes = new Map();
for (const shape of picture.querySelectorAll("[data-entry]")) {
  const number = Number(shape.dataset.entry) - 1;
  if (!shapes.has(number)) shapes.set(number, []);
  shapes.get(number).push(shape);
  shape.setAttribute("role", "button");
  shape.setAttribute("aria-label", `%${number + 1} ${short(rows[number][CALL])}`);
  shape.setAttribute("tabindex", -1);
}
// An image to those who made it; here its parts can be used, and only the one at this step is a tab stop.
for (const svg of picture.querySelectorAll("svg")) svg.setAttribute("role", "group");

function mark(className, number) {
  for (const shape of picture.querySelectorAll(`.${className}`)) {
    shape.classList.remove(className);
    if (className === "now") shape.setAttribute("tabindex", -1);
  }
  for (const shape of shapes.get(number) || []) {
    shape.classList.add(className);
    if (className === "now") shape.setAttribute("tabindex", 0);
  }
}

function focusShape(from, by) {
  for (let number = from + by; number >= 0 && number < count; number += by) {
    if (shapes.has(number)) return shapes.get(number)[0].focus();
  }
}

function revealShape(number) {
  const [shape] = shapes.get(number) || [];
  by("absent").textContent = shape ? "" : `%${number + 1} is ${data.absent}`;
  if (!shape) return;
  const [inner, outer] = [shape.getBoundingClientRect(), picture.getBoundingClientRect()];
  const away = (a, b, c, d) => (a < c ? a - c - 40 : b > d ? b - d + 40 : 0);
  const left = away(inner.left, inner.right, outer.left, outer.right);
  const top = away(inner.top, inner.bottom, outer.top, outer.bottom);
  if (left || top) picture.scrollBy({ left, top, behavior: calm.matches || timer ? "instant" : "smooth" });
}

// ---- moving

function describe() {
  const number = entryAt(step);
  const at = isBackward() ? step - count + 1 : step + 1;
  return `${isBackward() ? "backward" : "forward"} ${at} of ${count}: %${number + 1} ${data.rules[rows[number][RULE]][0]}`;
}

function render() {
  document.body.classList.toggle("backward", isBackward());
  slider.value = step;
  const text = describe();
  slider.setAttribute("aria-valuetext", text);
  by("where").textContent = text;
  if (!timer) by("announce").textContent = [text, ...flagsOf(entryAt(step), isBackward())].join(", ");
  by("first").disabled = by("back").disabled = step === 0;
  by("on").disabled = by("last").disabled = step === steps - 1;
  showEntry();
  if (step === 2 * count - 1) showGradients();
  panel.scrollTop = 0;
  reveal(entryAt(step));
  drawTable();
  mark("now", entryAt(step));
  if (document.activeElement.dataset.entry) shapes.get(entryAt(step))?.[0].focus({ preventScroll: true });
  revealShape(entryAt(step));
}

function go(to) {
  step = Math.max(0, Math.min(steps - 1, to));
  render();
}

function choose(number) {
  chosen = number;
  mark("chosen", number);
  if (number >= 0) table.setAttribute("aria-activedescendant", `row-${number}`);
  else table.removeAttribute("aria-activedescendant");
  drawTable();
}

function play(on) {
  clearInterval(timer);
  timer = null;
  if (on && step === steps - 1) step = 0;
  if (on) {
    timer = setInterval(() => {
      if (step < steps - 1) go(step + 1);
      if (step === steps - 1) play(false);
    }, Number(by("speed").value));
  }
  const button = by("play");
  button.textContent = on ? "❚❚ Pause" : "▶\uFE0E Play";
  button.setAttribute("aria-label", `${on ? "Pause" : "Play"} (space bar)`);
  render();
}

function nextFlag() {
  for (let k = 1; k <= steps; k++) {
    const to = (step + k) % steps;
    if (flagsOf(entryAt(to), to >= count).length) return go(to);
  }
}

const KEYS = {
  ArrowRight: () => go(step + 1),
  ArrowLeft: () => go(step - 1),
  PageDown: () => go(step + 10),
  PageUp: () => go(step - 10),
  Home: () => go(0),
  End: () => go(steps - 1),
  " ": () => play(!timer),
  n: nextFlag,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !count) return;
  const target = event.target;
  if (target.tagName === "SELECT" || (target.tagName === "BUTTON" && event.key === " ")) return;
  if (target === table && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
    event.preventDefault();
    if (event.key === "Enter") return go(stepOf(chosen < 0 ? entryAt(step) : chosen));
    const from = chosen < 0 ? entryAt(step) : chosen;
    const to = Math.max(0, Math.min(count - 1, from + (event.key === "ArrowDown" ? 1 : -1)));
    reveal(to);
    choose(to);
    revealShape(to);
  } else if (target.dataset?.entry && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
    event.preventDefault();
    const number = Number(target.dataset.entry) - 1;
    if (event.key === "Enter") go(stepOf(number));
    else focusShape(number, event.key === "ArrowDown" ? 1 : -1);
  } else if (KEYS[event.key]) {
    event.preventDefault(); // the slider would step by itself, and the page would scroll
    KEYS[event.key]();
  }
});

slider.addEventListener("input", () => go(Number(slider.value)));
by("first").addEventListener("click", () => go(0));
by("back").addEventListener("click", () => go(step - 1));
by("on").addEventListener("click", () => go(step + 1));
by("last").addEventListener("click", () => go(steps - 1));
by("play").addEventListener("click", () => play(!timer));
by("flagged").addEventListener("click", nextFlag);
by("speed").addEventListener("change", () => timer && play(true));
table.addEventListener("scroll", drawTable);
addEventListener("resize", drawTable);
dark.addEventListener("change", render);

for (const [area, attribute] of [[list, "row"], [picture, "entry"]]) {
  const number = (event) => {
    const found = event.target.closest(`[data-${attribute}]`);
    return found ? Number(found.dataset[attribute]) - (area === picture) : -1;
  };
  area.addEventListener("pointerover", (event) => {
    const over = number(event);
    if (over === chosen) return;
    choose(over);
    if (over >= 0 && area === picture) {
      reveal(over);
      drawTable();
    } else if (over >= 0) revealShape(over);
  });
  area.addEventListener("pointerleave", () => choose(-1));
  area.addEventListener("click", (event) => {
    const over = number(event);
    if (over >= 0) go(stepOf(over));
  });
}
picture.addEventListener("focusin", (event) => {
  const number = event.target.dataset?.entry ? Number(event.target.dataset.entry) - 1 : -1;
  choose(number);
  if (number >= 0) {
    reveal(number);
    drawTable();
  }
});
picture.addEventListener("focusout", () => choose(-1));
table.addEventListener("focus", () => chosen < 0 && count && choose(entryAt(step)));
table.addEventListener("blur", () => choose(-1));

// ---- start

function notice(text) {
  by("notice").hidden = false;
  by("notice").append(element("span", "", text));
}

by("about").textContent = `${count.toLocaleString("en")} entries, ${leaves.length.toLocaleString("en")} leaves`;
if (!picture.querySelector("svg")) {
  document.querySelector("main").classList.add("plain");
  notice(data.absent);
}
if (data.released) notice("An earlier backward() has released the arrays of this tape: no cotangents were computed, and values are shown only where they were kept, or follow from parameters that are as they were.");
by("flagged").disabled = !Object.keys(data.flags).length;
list.style.height = `${count * ROW}px`;
table.setAttribute("aria-rowcount", count + 1);
slider.max = Math.max(0, steps - 1);
if (count) render();
else panel.append(element("p", "none", "No operation was recorded: the tensor is a leaf."));
