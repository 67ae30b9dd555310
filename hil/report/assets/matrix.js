"use strict";
// The overview: platforms by networks, for one metric at a time.
const METRICS = {
  total: { name: "End-to-end latency", unit: "s", figure: (run) => run.total },
  steady: { name: "Next inference", unit: "s", figure: (run) => run.steady },
  energy: { name: "Energy", unit: "J", scoped: true, figure: (run) => run.energy && run.energy.j },
  power: { name: "Power", unit: "W", scoped: true, figure: (run) => run.power === null ? null : [run.power, null, null] },
  outside: { name: "Outside the accelerator", unit: "%", figure: (run) => run.outside === null ? null : [run.outside, null, null] },
};
const matrixState = { metric: "total", sort: null };

function matrixText(metric, figure) {
  if (!figure || figure[0] === null) return "–";
  return metric.unit === "%" ? percent(figure[0]) : si(figure[0], metric.unit);
}

function matrixNote(metric) {
  const lines = {
    total: "From switching the accelerator on to the decoded result, weight loading included.",
    steady: "One more inference while the accelerator is on and keeps its weights.",
    energy: "End to end. Rows are grouped by what the energy covers: energies of different groups are not comparable.",
    power: "Mean over the end-to-end run: energy ÷ latency. Rows are grouped by what the power covers: groups are not comparable.",
    outside: "Share of the end-to-end time in which the accelerator computes nothing: initialisation, memory I/O, operators on the CPU, post-processing. A ratio of means, without interval.",
  };
  const shade = metric.unit === "%" ? "The stronger the shade, the more." : `The stronger the shade, the more; it compares the cells of one network${metric.scoped ? " within a group" : ""}, on a logarithmic scale.`;
  return `${lines[matrixState.metric]} ${shade} Hatched: does not fit. Click a network to sort by it.`;
}

function matrixTip(run, metric) {
  const figure = metric.figure(run);
  const shown = metric.unit === "%" ? matrixText(metric, figure) :
    figure && figure[1] === null ? si(figure[0], metric.unit) : interval(figure, metric.unit);
  return [
    ...describe(run),
    `${metric.name}: ${shown}`,
    metric.scoped && run.energy ? [`covers: ${data.scopes[run.energy.scope]}`, "quiet"] : null,
    ...run.fallback.map(([type, reason, count]) => `On the CPU: ${count > 1 ? `${count} × ` : ""}${type}${reason ? ` (${reason})` : ""}`),
    fidelityLine(run, metric.scoped && run.energy ? run.energy.fidelity : run.total_fidelity),
  ];
}

function matrixCell(run, metric, shade) {
  if (!run) return h("td", { class: "none" }, "–");
  const attributes = { tip: () => matrixTip(run, metric), tabindex: "0", "aria-label": matrixTip(run, metric).filter(Boolean).map((l) => Array.isArray(l) ? l[0] : l).join(". ") };
  if (!run.fits) return h("td", { ...attributes, class: "unfit" }, "no fit");
  const share = shade(run);
  const style = share === null ? {} : { background: `color-mix(in srgb, var(--heat-high) ${Math.round(100 * share)}%, var(--heat-low))` };
  const mark = run.fallback.length ? h("small", null, `${run.fallback.reduce((sum, f) => sum + f[2], 0)} on CPU`) : null;
  return h("td", { ...attributes, style }, matrixText(metric, metric.figure(run)), mark);
}

// Where a run's figure lies between the least and the most that it may be compared with, 0 to 1.
function shader(metric) {
  const extremes = new Map();
  const key = (run) => metric.scoped ? `${run.n}/${run.energy ? run.energy.scope : "-"}` : run.n;
  const value = (run) => { const f = metric.figure(run); return f && f[0] > 0 ? f[0] : null; };
  for (const run of data.runs) {
    const v = value(run);
    if (!run.fits || v === null) continue;
    const [low, high] = extremes.get(key(run)) || [v, v];
    extremes.set(key(run), [Math.min(low, v), Math.max(high, v)]);
  }
  return (run) => {
    const v = value(run);
    if (v === null) return null;
    if (metric.unit === "%") return v;
    const [low, high] = extremes.get(key(run));
    return high > low ? Math.log(v / low) / Math.log(high / low) : 0;
  };
}

function drawMatrix() {
  const metric = METRICS[matrixState.metric];
  const byCell = new Map(data.runs.map((run) => [`${run.r}/${run.n}`, run]));
  const cell = (row, network) => byCell.get(`${row}/${network}`);
  const rank = (row) => {
    const run = cell(row, matrixState.sort);
    const figure = run && run.fits ? metric.figure(run) : null;
    return figure ? figure[0] : Infinity;
  };
  let rows = data.rows.map((_, i) => i);
  if (matrixState.sort !== null) rows.sort((a, b) => rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : a - b);
  const shade = shader(metric);
  const head = data.networks.map((network, n) => h("th", { scope: "col", "aria-sort": matrixState.sort === n ? "ascending" : null }, h("button", {
    type: "button",
    on: { click: () => { matrixState.sort = matrixState.sort === n ? null : n; drawMatrix(); } },
    tip: () => [network.name, `${count(network.macs, "MAC")}, ${count(network.parameters, "parameters")}, ${network.precision}`, ["Click to sort by it, again for the first order.", "quiet"]],
  }, network.name, matrixState.sort === n ? " ▲" : "")));
  const line = (r) => h("tr", null,
    h("th", { scope: "row" }, h("a", { href: `#${data.rows[r].anchor}` }, data.rows[r].label)),
    ...data.networks.map((_, n) => matrixCell(cell(r, n), metric, shade)));
  const body = h("tbody", null);
  if (metric.scoped) {
    const scopeOf = (r) => { const run = data.runs.find((x) => x.r === r && x.energy); return run ? run.energy.scope : null; };
    for (const scope of [...data.scopes.keys(), null]) {
      const members = rows.filter((r) => scopeOf(r) === scope);
      if (!members.length) continue;
      const title = scope === null ? "no energy figures" : `Covers: ${data.scopes[scope]}`;
      body.append(h("tr", { class: "group" }, h("th", { colspan: data.networks.length + 1, scope: "colgroup" }, title)), ...members.map(line));
    }
  } else body.append(...rows.map(line));
  const caption = h("caption", null, metric.name);
  document.getElementById("matrix").replaceChildren(h("div", { class: "scroll matrix" },
    h("table", null, caption, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Platform"), ...head)), body)));
  document.getElementById("matrix-note").textContent = matrixNote(metric);
}
