"use strict";
// The plots.  Each takes the element to draw into and what is chosen, and draws from `data`.

const PHASES = [
  ["init", "NPU init", "--init"], ["memory_io", "Memory I/O", "--memory"],
  ["inference", "Inference", "--inference"], ["post", "Post-processing", "--post"],
];
const mean = (figure) => figure && figure[0] !== null ? figure[0] : null;

function nothing(host, why) {
  host.append(h("p", { class: "empty" }, why));
}

// Rows of a horizontal chart: room for the longest label, within reason.
function labelRoom(runs, width) {
  return Math.min(width * 0.3, 14 + Math.max(...runs.map((run) => textWidth(rowOf(run).label))));
}
function rowLabel(svg, run, left, y) {
  const label = rowOf(run).label;
  const link = s("a", { href: `#${rowOf(run).anchor}`, tip: () => describe(run) });
  link.append(text(left - 8, y + 4, shorten(label, left - 12), { "text-anchor": "end", class: run.fits ? null : "quiet" }));
  svg.append(link);
}

// --- 1. where the time goes -----------------------------------------------------------------------------------

function phaseTip(run) {
  return () => [
    ...describe(run),
    ...PHASES.map(([key, name]) => mean(run[key]) === null ? null : `${name}: ${interval(run[key], "s")}, ${percent(mean(run[key]) / run.total[0])}`),
    `End to end: ${interval(run.total, "s")}`,
    fidelityLine(run),
  ];
}

function whisker(svg, x0, x1, end, y, size = 4) {
  // An end that lies beyond the axis has no cap.
  const cap = x1 > end ? "" : `M${x1},${y - size}v${2 * size}`;
  svg.append(s("path", { class: "whisker", d: `M${x0},${y - size}v${2 * size}M${x0},${y}H${Math.min(x1, end)}${cap}` }));
}

function drawPhases(host, { network, mode }) {
  const runs = runsOf(network).filter((run) => run.total[0] > 0)
    .sort((a, b) => (b.fits - a.fits) || a.total[0] - b.total[0]);
  if (!runs.length) return nothing(host, "No latencies for this network.");
  host.append(h("div", { class: "key" }, ...PHASES.map(([, name, colour]) =>
    keyItem(s("rect", { x: -6, y: -6, width: 12, height: 12, style: { fill: `var(${colour})` } }), name)),
  mode === "log" ? keyItem(s("path", { d: "M0,-7V7", class: "capacity" }), "End to end, with interval") : null,
  h("span", null, "at the right: end to end")));
  const step = 24, top = 8, bottom = top + runs.length * step;
  const { svg, width } = canvas(host, bottom + 42, "Latency by phase, one bar per platform");
  const left = labelRoom(runs, width), right = width - 118;
  const scale = phaseScale(runs, mode, [left, right]);
  axisX(svg, scale, top, bottom, mode === "share" ? percent : (v) => si(v, "s", 2).replace(/\.0 /, " "),
    mode === "share" ? "share of end-to-end latency" : `latency${mode === "log" ? ", logarithmic" : ""}`);
  runs.forEach((run, i) => {
    const y = top + (i + 0.5) * step;
    rowLabel(svg, run, left, y);
    const group = s("g", { class: run.fits ? "bar" : "bar unfit", tip: phaseTip(run) },
      s("rect", { x: left, y: y - step / 2, width: right - left, height: step, fill: "transparent" }));
    svg.append(group);
    (mode === "log" ? phaseDots : phaseBar)(group, run, scale, y, mode);
    const note = run.fits ? `${si(run.total[0], "s")} ${fidelitySign(run)}` : "does not fit";
    svg.append(text(right + 10, y + 4, note, { class: run.fits ? null : "unfit" }));
  });
}

function phaseScale(runs, mode, range) {
  if (mode === "share") return linear([0, 1], range);
  if (mode === "log") return log(span(runs.flatMap((run) => [run.total[2], ...PHASES.map(([key]) => mean(run[key]))])), range);
  // One slow platform must not flatten all others: beyond eight times the median, bars are cut and say so.
  const shown = runs.some((run) => run.fits) ? runs.filter((run) => run.fits) : runs;
  const totals = shown.map((run) => run.total[0]).sort((a, b) => a - b);
  const limit = Math.min(Math.max(...shown.map((run) => run.total[2])), 8 * totals[Math.floor((totals.length - 1) / 2)]);
  return linear([0, limit * 1.02], range);
}

function phaseBar(group, run, scale, y, mode) {
  const whole = mode === "share" ? run.total[0] : 1;
  const end = scale.range[1];
  let sum = 0;
  for (const [key, , colour] of PHASES) {
    const value = mean(run[key]);
    if (!(value > 0)) continue;
    const x0 = Math.min(end, scale(sum / whole)), x1 = Math.min(end, scale((sum + value) / whole));
    sum += value;
    if (x1 > x0) group.append(s("rect", { x: x0, y: y - 8, width: Math.max(0.5, x1 - x0), height: 16, style: { fill: `var(${colour})` } }));
  }
  if (mode === "share") return;
  if (scale(run.total[0]) > end) {
    group.append(s("path", { d: `M${end - 9},${y - 10}l5,7l-5,6l5,7h6v-20z`, style: { fill: "var(--panel)" } }),
      text(end - 1, y + 4, "»", { class: "halo" }));
  } else whisker(group, scale(run.total[1]), scale(run.total[2]), end, y);
}

// On a logarithmic axis stacked lengths would lie, so every phase is a dot.
function phaseDots(group, run, scale, y) {
  const clamp = (v) => scale(Math.max(v, scale.domain[0]));
  whisker(group, clamp(run.total[1]), clamp(run.total[2]), Infinity, y, 3);
  group.append(s("path", { d: `M${scale(run.total[0])},${y - 8}v16`, class: "capacity" }));
  for (const [key, , colour] of PHASES) {
    if (mean(run[key]) > 0) group.append(s("circle", { cx: clamp(run[key][0]), cy: y, r: 5, style: { fill: `var(${colour})`, stroke: "var(--panel)" } }));
  }
}

// --- 2. energy against latency --------------------------------------------------------------------------------

function drawEnergy(host, { network, kind }) {
  const all = runsOf(network).filter((run) => run[kind] && run[kind].j[0] > 0 && run.total[0] > 0);
  if (!all.length) return nothing(host, "No energies for this network.");
  const { shared, markOf } = energyMarks(all, kind);
  host.append(h("div", { class: "key" },
    ...shared.map((scope, i) => keyItem(scopeMark(i, 0, 0), data.scopes[scope])),
    shared.length < new Set(all.map((run) => run[kind].scope)).size ? keyItem(loneMark(0, 0), "a scope of its own: compare with none") : null,
    all.every((run) => run.fits) ? null : keyItem(scopeMark(0, 0, 0, true), "hollow or pale: does not fit")));
  const { svg, width, height } = canvas(host, 460, "Energy against latency");
  const frame = { left: 62, right: width - 20, top: 26, bottom: height - 46 };
  const x = log(span(all.flatMap((run) => run.total)), [frame.left, frame.right]);
  const y = log(span(all.flatMap((run) => run[kind].j)), [frame.bottom, frame.top]);
  axisX(svg, x, frame.top, frame.bottom, (v) => si(v, "s", 1), "end-to-end latency, logarithmic");
  axisY(svg, y, frame.left, frame.right, (v) => si(v, "J", 1), "energy, logarithmic");
  shared.forEach((scope, i) => drawFront(svg, all.filter((run) => run.fits && run[kind].scope === scope), kind, i, x, y));
  for (const run of all) drawCross(svg, run, run[kind].j, x, y);
  const labels = labeller(frame, all.map((run) => [x(run.total[0]), y(run[kind].j[0])]));
  for (const run of all) {
    const [px, py] = [x(run.total[0]), y(run[kind].j[0])];
    const mark = markOf(run, px, py);
    tip(mark, () => [
      ...describe(run), `Latency: ${interval(run.total, "s")}`, `Energy: ${interval(run[kind].j, "J")}`,
      [`covers: ${data.scopes[run[kind].scope]}; energy ${run[kind].fidelity || run.fidelity}`, "quiet"],
      fidelityLine(run, run.total_fidelity),
    ]);
    svg.append(mark);
    labels.place(svg, rowOf(run).label, px, py, run.fits ? null : "unfit");
  }
}

// Scopes that several platforms share get a sign each; the others one sign for all, since nothing compares with them.
function energyMarks(runs, kind) {
  const platforms = new Map();
  for (const run of runs) {
    const scope = run[kind].scope;
    platforms.set(scope, (platforms.get(scope) || new Set()).add(rowOf(run).anchor));
  }
  const alone = new Set(runs.map((run) => rowOf(run).anchor)).size === 1;
  const shared = [...platforms.keys()].filter((scope) => alone || platforms.get(scope).size > 1);
  const markOf = (run, x, y) => {
    const sign = shared.indexOf(run[kind].scope);
    return sign < 0 ? loneMark(x, y, run.fits) : scopeMark(sign, x, y, !run.fits);
  };
  return { shared, markOf };
}
function loneMark(x, y, fits = true) {
  return s("path", { class: fits ? null : "unfit", d: "M-5,-5L5,5M-5,5L5,-5", transform: `translate(${x},${y})`, style: { stroke: "var(--quiet)", "stroke-width": "2.5px" } });
}

function drawCross(svg, run, energy, x, y) {
  const clampX = (v) => x(Math.max(v, x.domain[0])), clampY = (v) => y(Math.max(v, y.domain[0]));
  const px = x(run.total[0]), py = y(energy[0]);
  svg.append(s("path", { class: run.fits ? "whisker pale" : "whisker pale unfit", d: `M${clampX(run.total[1])},${py}H${clampX(run.total[2])}M${px},${clampY(energy[1])}V${clampY(energy[2])}` }));
}

// The runs that no other run of the same scope beats in both respects, joined by steps.
function drawFront(svg, runs, kind, sign, x, y) {
  if (runs.length < 2) return;
  const front = [];
  for (const run of [...runs].sort((a, b) => a.total[0] - b.total[0] || a[kind].j[0] - b[kind].j[0])) {
    if (!front.length || run[kind].j[0] < front[front.length - 1][kind].j[0]) front.push(run);
  }
  const path = front.map((run, i) => `${i ? "H" : "M"}${x(run.total[0])}${i ? "V" : ","}${y(run[kind].j[0])}`).join("");
  svg.append(s("path", { class: "front", d: path, style: { stroke: signColour(sign) } }));
}

// Puts labels beside their points where they cover neither each other nor a point; leaves out what has no room
// (the tooltip still names it).
function labeller(frame, points) {
  const taken = points.map(([px, py]) => [px - 6, py - 6, px + 6, py + 6]);
  const overlap = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  return {
    place(svg, label, px, py, kind) {
      const w = textWidth(label);
      const spots = [[9, 4], [-9 - w, 4], [-w / 2, -10], [-w / 2, 19], [8, -7], [8, 15], [-8 - w, -7], [-8 - w, 15]];
      let best = null;
      for (const [dx, dy] of spots) {
        const box = [px + dx, py + dy - 10, px + dx + w, py + dy + 3];
        if (box[0] < frame.left || box[2] > frame.right + 16 || box[1] < frame.top - 8 || box[3] > frame.bottom) continue;
        const cost = taken.reduce((sum, other) => sum + overlap(box, other), 0);
        if (best === null || cost < best.cost) best = { cost, box };
        if (cost === 0) break;
      }
      if (best === null || best.cost > 60) return;
      taken.push(best.box);
      svg.append(text(best.box[0], best.box[1] + 10, label, { class: kind ? `halo ${kind}` : "halo" }));
    },
  };
}

// --- 3. achieved against peak ---------------------------------------------------------------------------------

const achieved = (run) => mean(run.inference) > 0 ? 2 * data.networks[run.n].macs / run.inference[0] / 1e9 : null;

function drawPeak(host, { network }) {
  const able = data.runs.filter((run) => run.peak > 0 && achieved(run) > 0 && run.fits);
  const chosen = able.filter((run) => run.n === network);
  const without = [...new Set(runsOf(network).filter((run) => !(run.peak > 0)).map((run) => rowOf(run).label))];
  if (!able.length) return nothing(host, "No run that fits on a platform with an accelerator whose peak is known.");
  const { svg, width, height } = canvas(host, 460, "Achieved rate against peak rate");
  const frame = { left: 62, right: width - 60, top: 26, bottom: height - 46 };
  const x = log(span(able.map((run) => 2 * run.peak / 1e9), 1.6), [frame.left, frame.right]);
  const y = log(span(able.map(achieved), 1.6), [frame.bottom, frame.top]);
  const gops = (v) => `${Number(v.toPrecision(3))}`;
  axisX(svg, x, frame.top, frame.bottom, gops, "peak GOPS (2 × MAC/s), logarithmic");
  axisY(svg, y, frame.left, frame.right, gops, "achieved GOPS, logarithmic");
  for (const share of [1, 0.1, 0.01, 0.001, 0.0001]) isoLine(svg, share, x, y, frame);
  for (const run of able.filter((r) => r.n !== network)) {
    svg.append(s("circle", { class: "pale", cx: x(2 * run.peak / 1e9), cy: y(achieved(run)), r: 3, style: { fill: "var(--quiet)" }, tip: () => peakTip(run) }));
  }
  const labels = labeller(frame, chosen.map((run) => [x(2 * run.peak / 1e9), y(achieved(run))]));
  for (const run of chosen) {
    const [px, py] = [x(2 * run.peak / 1e9), y(achieved(run))];
    const reach = [2, 1].map((i) => run.inference[i] > 0 ? y(2 * data.networks[run.n].macs / run.inference[i] / 1e9) : py)
      .map((v) => Math.min(frame.bottom, Math.max(frame.top, v)));
    svg.append(s("path", { class: "whisker pale", d: `M${px},${reach[0]}V${reach[1]}` }),
      s("circle", { class: "point", cx: px, cy: py, r: 5.5, style: { fill: "var(--inference)" }, tip: () => peakTip(run) }));
    labels.place(svg, rowOf(run).label, px, py, null);
  }
  if (without.length) host.append(h("p", { class: "quiet" }, `No accelerator, or no peak known: ${without.join(", ")}.`));
}

function peakTip(run) {
  const rate = achieved(run);
  return [
    ...describe(run), `Achieved ${rate.toPrecision(3)} of ${Number((2 * run.peak / 1e9).toPrecision(3))} GOPS: ${percent(1e9 * rate / 2 / run.peak)} of the peak`,
    `Inference: ${interval(run.inference, "s")}`, fidelityLine(run),
  ];
}

function isoLine(svg, share, x, y, frame) {
  // On two logarithmic axes y = share * x is straight; it is cut to the frame.
  const low = Math.max(x.domain[0], y.domain[0] / share), high = Math.min(x.domain[1], y.domain[1] / share);
  if (low >= high) return;
  svg.append(s("path", { class: "guide", d: `M${x(low)},${y(low * share)}L${x(high)},${y(high * share)}` }));
  const atEdge = high === x.domain[1];
  svg.append(text(x(high) + (atEdge ? 5 : 0), y(high * share) + (atEdge ? 4 : -5), `${Number((100 * share).toPrecision(2))} %`, { class: "aside", "text-anchor": atEdge ? "start" : "middle" }));
}

// --- 4. memory ------------------------------------------------------------------------------------------------

const MEMORY_LIMIT = 2;
const MEMORY_COLOURS = { weights: "--inference", activations: "--init", program: "--post", input: "--memory" };

function drawMemory(host, { network }) {
  const rows = runsOf(network).flatMap((run) => run.memory.map((use, i) => ({ run, use, first: i === 0 })));
  if (!rows.length) return nothing(host, "No memory figures for this network.");
  const roles = [...new Set(rows.map(({ use }) => use[1]))];
  const colour = (role) => `var(${MEMORY_COLOURS[role] || "--scope2"})`;
  host.append(h("div", { class: "key" }, ...roles.map((role) =>
    keyItem(s("rect", { x: -6, y: -6, width: 12, height: 12, style: { fill: colour(role) } }), role))));
  const step = 17, gap = 7, top = 8;
  let y = top;
  for (const row of rows) { y += row.first ? gap : 0; row.y = y + step / 2; y += step; }
  const { svg, width } = canvas(host, y + 44, "Memory needed as a share of capacity");
  const runs = rows.map(({ run }) => run);
  const left = labelRoom(runs, width), right = width - 210;
  const worst = Math.max(1, ...rows.map(({ use }) => use[3] ? use[2] / use[3] : 0));
  const scale = linear([0, Math.min(MEMORY_LIMIT, Math.max(1.1, worst * 1.05))], [left, right]);
  axisX(svg, scale, top, y, percent, "share of the capacity");
  for (const { run, use, first, y: middle } of rows) {
    if (first) rowLabel(svg, run, left, middle);
    memoryBar(svg, run, use, scale, middle, colour(use[1]), right);
  }
  svg.append(s("line", { class: "capacity", x1: scale(1), x2: scale(1), y1: top, y2: y }));
}

function memoryBar(svg, run, [name, role, need, capacity, fits], scale, y, colour, right) {
  const share = capacity ? need / capacity : 0;
  const end = Math.min(scale(share), right);
  const group = s("g", { class: "bar", tip: () => [...describe(run), `${role} in ${name}: ${bytes(need)} of ${bytes(capacity)}`, capacity ? `${percent(share)} of the capacity` : "no limit known"] },
    s("rect", { class: "track", x: scale(0), y: y - 6, width: scale(1) - scale(0), height: 12 }),
    s("rect", { x: scale(0), y: y - 6, width: Math.max(1, end - scale(0)), height: 12, style: { fill: colour } }));
  if (scale(share) > right) group.append(text(right - 12, y + 4, "»", { class: "halo" }));
  const twin = run.memory.some((other) => other[1] === role && other[0] !== name) ? ` (${name})` : "";
  const note = capacity ? `${bytes(need)} of ${bytes(capacity)}` : `${bytes(need)}, no limit known`;
  svg.append(group, text(right + 10, y + 4, shorten(note + (fits ? "" : " ✗") + twin, 200), { class: fits ? null : "unfit" }));
}

// --- 5. latency against MACs ----------------------------------------------------------------------------------

const DASHES = [null, "6 3", "2 3", "9 3 2 3"];

function drawScaling(host, { metric }) {
  const lines = data.rows.map((row, r) => ({
    row, r,
    points: data.runs.filter((run) => run.r === r && run.fits && mean(run[metric]) > 0 && data.networks[run.n].macs > 0)
      .sort((a, b) => data.networks[a.n].macs - data.networks[b.n].macs),
  })).filter((line) => line.points.length);
  if (!lines.length) return nothing(host, "No run that fits.");
  const { svg, width, height } = canvas(host, Math.max(460, 60 + 15 * lines.length), "Latency against MACs, one line per platform");
  const room = Math.min(width * 0.3, 24 + Math.max(...lines.map(({ row }) => textWidth(row.label))));
  const frame = { left: 62, right: width - room, top: 26, bottom: height - 46 };
  const all = lines.flatMap((line) => line.points);
  const x = log(span(all.map((run) => data.networks[run.n].macs)), [frame.left, frame.right]);
  const y = log(span(all.map((run) => run[metric][0])), [frame.bottom, frame.top]);
  axisX(svg, x, frame.top, frame.bottom, (v) => si(v, "", 1), "multiply-accumulates per inference, logarithmic");
  axisY(svg, y, frame.left, frame.right, (v) => si(v, "s", 1), `${metric === "total" ? "end-to-end" : "inference"} latency, logarithmic`);
  proportional(svg, x, y);
  const plot = s("g", null);
  svg.append(plot);
  const spread = spreadLabels(lines.map((line) => y(line.points[line.points.length - 1][metric][0])), frame.top, frame.bottom + 20);
  lines.forEach((line, i) => plot.append(series(plot, line, metric, x, y, frame.right + 14, spread[i])));
}

// A line of slope one through the middle: what time proportional to MACs would look like.
function proportional(svg, x, y) {
  const middle = (scale) => Math.sqrt(scale.domain[0] * scale.domain[1]);
  const factor = middle(y) / middle(x);
  const low = Math.max(x.domain[0], y.domain[0] / factor), high = Math.min(x.domain[1], y.domain[1] / factor);
  svg.append(s("path", { class: "guide", d: `M${x(low)},${y(low * factor)}L${x(high)},${y(high * factor)}` }));
}

function series(plot, { row, r, points }, metric, x, y, labelX, labelY) {
  const style = { stroke: signColour(r), fill: "none", "stroke-dasharray": DASHES[Math.floor(r / 6) % 4] || "none" };
  const spots = points.map((run) => [x(data.networks[run.n].macs), y(run[metric][0])]);
  const last = spots[spots.length - 1];
  const lineTip = (run) => () => [...describe(run), `${count(data.networks[run.n].macs, "MAC")}`, `Latency: ${interval(run[metric], "s")}`, fidelityLine(run)];
  return s("g", {
    class: "series",
    on: {
      pointerenter: () => { plot.classList.add("dim"); group(plot, r, "add"); },
      pointerleave: () => { group(plot, r, "remove"); plot.classList.toggle("dim", plot.querySelector(".kept") !== null); },
      click: () => { const node = plot.querySelector(`[data-row="${r}"]`); node.toggleAttribute("data-fixed"); },
    },
    "data-row": r,
  },
  s("path", { d: `M${spots.map((p) => p.join(",")).join("L")}`, style }),
  s("path", { d: `M${last.join(",")}L${labelX - 4},${labelY}`, style: { ...style, "stroke-width": "0.6px" } }),
  ...points.map((run, i) => s("circle", { cx: spots[i][0], cy: spots[i][1], r: 4, style: { fill: signColour(r) }, tip: lineTip(run) })),
  text(labelX, labelY + 4, row.label, { style: { fill: signColour(r) }, class: "halo" }));
}

// A line that was clicked stays picked out when the pointer leaves it.
function group(plot, r, action) {
  const node = plot.querySelector(`[data-row="${r}"]`);
  if (action === "add") node.classList.add("kept");
  else node.classList.toggle("kept", node.hasAttribute("data-fixed"));
}

// Moves labels apart, in their order, so that none covers another.
function spreadLabels(wanted, top, bottom) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const gap = Math.min(14, (bottom - top) / Math.max(1, wanted.length - 1));
  const placed = [];
  let next = top;
  for (const i of order) { placed[i] = Math.max(next, wanted[i]); next = placed[i] + gap; }
  let limit = bottom;
  for (const i of [...order].reverse()) { placed[i] = Math.min(limit, placed[i]); limit = placed[i] - gap; }
  return placed;
}
