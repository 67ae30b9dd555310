"use strict";
// Small tools: formatting, elements, scales, axes, the tooltip.  Text goes in as text nodes only, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);

const PREFIXES = [["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1], ["m", 1e-3], ["µ", 1e-6], ["n", 1e-9], ["p", 1e-12]];

function si(value, unit, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return `0 ${unit}`;
  const rounded = Number(Math.abs(value).toPrecision(digits));
  const [prefix, factor] = PREFIXES.find(([, f]) => rounded >= f * (1 - 1e-12)) || PREFIXES[PREFIXES.length - 1];
  const scaled = value / factor;
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(Number(scaled.toPrecision(digits))))));
  return `${scaled.toFixed(decimals)} ${prefix}${unit}`.trim();
}

// A large count: "36.4 M MAC".
const count = (value, noun) => `${si(value, "").trim()} ${noun}`;

function bytes(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1024) return `${count} B`;
  const kib = count / 1024;
  if (kib < 10000) return `${kib >= 100 ? kib.toFixed(0) : kib.toFixed(1)} KiB`;
  return `${(kib / 1024).toFixed(1)} MiB`;
}

const percent = (share) => share === null ? "–" : `${(100 * share).toFixed((share > 0 && share < 0.0995) || (share > 0.99 && share < 1) ? 1 : 0)} %`;

function interval(figure, unit) {
  if (!figure || figure[0] === null) return "–";
  const [mean, low, high] = figure;
  return low === high ? si(mean, unit) : `${si(mean, unit)} (${si(low, unit)} – ${si(high, unit)})`;
}

// --- elements -------------------------------------------------------------------------------------------------

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined) continue;
    if (name === "tip") tip(node, value);
    else if (name === "on") for (const [event, action] of Object.entries(value)) node.addEventListener(event, action);
    // The content security policy forbids style attributes; the style object is allowed.
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const h = (name, attributes, ...children) => build(document.createElement(name), attributes, children);
const s = (name, attributes, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const text = (x, y, content, attributes) => s("text", { x, y, ...attributes }, content);

// --- tooltip --------------------------------------------------------------------------------------------------

const tipBox = document.getElementById("tip");

// `lines` makes the lines: strings, or [string, class].
function tip(node, lines) {
  const show = (event) => {
    tipBox.replaceChildren(...lines().filter(Boolean).map((line) =>
      Array.isArray(line) ? h("div", { class: line[1] }, line[0]) : h("div", null, line)));
    tipBox.hidden = false;
    const at = event.clientX !== undefined ? { x: event.clientX, y: event.clientY } : corner(node);
    const box = tipBox.getBoundingClientRect();
    const x = at.x + 14 + box.width > innerWidth ? at.x - 14 - box.width : at.x + 14;
    const y = at.y + 14 + box.height > innerHeight ? at.y - 14 - box.height : at.y + 14;
    tipBox.style.left = `${Math.max(4, x)}px`;
    tipBox.style.top = `${Math.max(4, y)}px`;
  };
  const hide = () => { tipBox.hidden = true; };
  node.addEventListener("pointermove", show);
  node.addEventListener("pointerleave", hide);
  node.addEventListener("focus", show);
  node.addEventListener("blur", hide);
}
function corner(node) {
  const box = node.getBoundingClientRect();
  return { x: box.right, y: box.bottom };
}

// --- scales and axes ------------------------------------------------------------------------------------------

function linear(domain, range) {
  const scale = (v) => range[0] + (v - domain[0]) / (domain[1] - domain[0]) * (range[1] - range[0]);
  const rough = (domain[1] - domain[0]) / Math.max(2, Math.abs(range[1] - range[0]) / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  scale.ticks = [];
  for (let v = Math.ceil(domain[0] / step) * step; v <= domain[1] + step * 1e-9; v += step) scale.ticks.push(v);
  return Object.assign(scale, { domain, range });
}

function log(domain, range) {
  const [a, b] = domain.map(Math.log10);
  const scale = (v) => range[0] + (Math.log10(v) - a) / (b - a) * (range[1] - range[0]);
  const decades = b - a;
  const every = Math.max(1, Math.ceil(decades / Math.max(2, Math.abs(range[1] - range[0]) / 55)));
  const steps = decades < 1.2 ? [1, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
  scale.ticks = [];
  for (let e = Math.floor(a); e <= Math.ceil(b); e++) {
    if (e % every) continue;
    for (const m of steps) {
      const v = Number(`${m}e${e}`);
      if (v >= domain[0] * 0.9999 && v <= domain[1] * 1.0001) scale.ticks.push(v);
    }
  }
  return Object.assign(scale, { domain, range });
}

// A domain for a logarithmic axis: all positive values with some air; at least half a decade.
function span(values, air = 1.25) {
  const positive = values.filter((v) => v > 0);
  let low = Math.min(...positive) / air, high = Math.max(...positive) * air;
  if (high / low < 3) [low, high] = [low / 1.8, high * 1.8];
  return [low, high];
}

function axisX(svg, scale, top, bottom, format, title) {
  for (const v of scale.ticks) {
    const x = scale(v);
    svg.append(s("g", { class: "tick" }, s("line", { x1: x, x2: x, y1: top, y2: bottom }),
      text(x, bottom + 16, format(v), { "text-anchor": "middle" })));
  }
  const middle = (scale.range[0] + scale.range[1]) / 2;
  if (title) svg.append(text(middle, bottom + 34, title, { "text-anchor": "middle", class: "axis-title" }));
}

function axisY(svg, scale, left, right, format, title) {
  for (const v of scale.ticks) {
    const y = scale(v);
    svg.append(s("g", { class: "tick" }, s("line", { x1: left, x2: right, y1: y, y2: y }),
      text(left - 6, y + 4, format(v), { "text-anchor": "end" })));
  }
  svg.append(text(left, Math.min(...scale.range) - 10, title, { class: "axis-title", "text-anchor": "start" }));
}

function canvas(host, height, label) {
  // The width is the page's own, so that text keeps its size whatever the screen.
  const width = Math.max(320, Math.floor(host.clientWidth) || 900);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  host.append(svg);
  return { svg, width, height };
}

const measure = document.createElement("canvas").getContext("2d");
function textWidth(content) {
  measure.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return measure.measureText(content).width;
}

function shorten(content, width) {
  if (textWidth(content) <= width) return content;
  let cut = content.length;
  while (cut > 1 && textWidth(content.slice(0, cut) + "…") > width) cut--;
  return content.slice(0, cut) + "…";
}

// --- marks ----------------------------------------------------------------------------------------------------

const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (r) => `M${-r},${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0,${-1.25 * r}L${1.15 * r},${0.85 * r}H${-1.15 * r}Z`,
  (r) => `M0,${-1.35 * r}L${1.35 * r},0L0,${1.35 * r}L${-1.35 * r},0Z`,
  (r) => `M0,${1.25 * r}L${1.15 * r},${-0.85 * r}H${-1.15 * r}Z`,
  (r) => `M${-r},${-r / 2.5}H${-r / 2.5}V${-r}H${r / 2.5}V${-r / 2.5}H${r}V${r / 2.5}H${r / 2.5}V${r}H${-r / 2.5}V${r / 2.5}H${-r}Z`,
];

const signColour = (sign) => `var(--scope${sign % 6})`;

// A sign for an energy scope: shape and colour both, since neither is enough for everybody.
function scopeMark(sign, x, y, hollow = false, r = 5.5) {
  const colour = signColour(sign);
  return s("path", {
    d: SHAPES[sign % SHAPES.length](r), transform: `translate(${x},${y})`,
    style: { fill: hollow ? "var(--panel)" : colour, stroke: colour, "stroke-width": "1.5px" },
  });
}

function keyItem(mark, label) {
  return h("span", null, s("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, mark), label);
}

// --- controls -------------------------------------------------------------------------------------------------

function choice(host, label, options, chosen, act) {
  const buttons = options.map(([value, name]) => h("button", {
    type: "button", "aria-pressed": String(value === chosen),
    on: {
      click: () => {
        buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(options[i][0] === value)));
        act(value);
      },
    },
  }, name));
  host.append(h("span", { class: "choice", role: "group", "aria-label": label }, ...buttons));
}

// --- the runs -------------------------------------------------------------------------------------------------

const fidelitySign = (run) => data.fidelities[run.fidelity][0];
const rowOf = (run) => data.rows[run.r];
const runsOf = (network) => data.runs.filter((run) => run.n === network);

function describe(run) {
  const row = rowOf(run);
  return [
    `${data.networks[run.n].name} on ${row.label}`,
    [`${row.name}, ${row.point}, ${row.backend}`, "quiet"],
    run.fits ? null : [`Does not fit: ${run.reasons.join("; ")}. As if it did:`, "unfit"],
  ];
}
const fidelityLine = (run, fidelity = run.fidelity) =>
  [`${data.fidelities[fidelity || run.fidelity][0]} ${fidelity || run.fidelity}; brackets: 90 % interval`, "quiet"];
