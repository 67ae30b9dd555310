"use strict";
// Ties it together: one network for all plots, redrawn when the width changes.
const CHARTS = {
  phases: { draw: drawPhases, state: { mode: "time" }, key: "mode", options: [["time", "Time"], ["log", "Time, logarithmic"], ["share", "Share"]] },
  energy: { draw: drawEnergy, state: { kind: "energy" }, key: "kind", options: [["energy", "As the platform states it"], ["above_idle", "Above idle"]] },
  peak: { draw: drawPeak, state: {} },
  memory: { draw: drawMemory, state: {} },
  scaling: { draw: drawScaling, state: { metric: "total" }, key: "metric", options: [["total", "End to end"], ["inference", "Inference alone"]] },
};
const chosen = { network: 0 };

function redraw(name) {
  const figure = document.getElementById(name), chart = CHARTS[name];
  const host = figure.querySelector(".plot");
  host.replaceChildren();
  const title = figure.querySelector("figcaption .network");
  if (title) title.textContent = data.networks[chosen.network].name;
  chart.draw(host, { ...chart.state, network: chosen.network });
}
const redrawAll = () => Object.keys(CHARTS).forEach(redraw);

function networkSelector() {
  const select = h("select", { id: "network", on: { change: () => { chosen.network = Number(select.value); redrawAll(); } } },
    ...data.networks.map((network, n) => h("option", { value: n }, `${network.name} (${count(network.macs, "MAC")})`)));
  document.getElementById("network-controls").append(h("label", null, "Network of the plots", select));
}

function openTarget() {
  const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
}

function start() {
  choice(document.getElementById("matrix-controls"), "Metric", Object.entries(METRICS).map(([key, metric]) => [key, metric.name]),
    matrixState.metric, (key) => { matrixState.metric = key; drawMatrix(); });
  drawMatrix();
  networkSelector();
  for (const [name, chart] of Object.entries(CHARTS)) {
    if (chart.key) choice(document.getElementById(name).querySelector(".controls"), name, chart.options, chart.state[chart.key], (value) => { chart.state[chart.key] = value; redraw(name); });
  }
  redrawAll();
  let width = innerWidth, pending = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(pending);
    pending = setTimeout(redrawAll, 120);
  });
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", () => document.querySelectorAll("details.platform").forEach((node) => { node.open = true; }));
  openTarget();
  document.documentElement.dataset.drawn = "yes";
}
start();
