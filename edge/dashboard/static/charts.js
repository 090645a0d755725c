// Draws the series that a page names (data-chart: an address that gives {t, coverage, limits}), and draws them again
// every 10 s. What is missing stays a gap.
"use strict";
(() => {
  const EVERY_MS = 10000;
  const HEIGHT = 220;
  const style = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const draw = async (box) => {
    const answer = await fetch(box.dataset.chart, { signal: AbortSignal.timeout(EVERY_MS / 2) }).catch(() => null);
    if (!answer || !answer.ok) return;
    const told = await answer.json();
    if (box.plot) box.plot.destroy();
    box.replaceChildren();
    if (!told.coverage.some((value) => value !== null)) {
      const empty = document.createElement("p");
      empty.className = "soft";
      empty.textContent = box.dataset.empty;
      box.append(empty);
      return;
    }
    const percent = told.coverage.map((value) => (value === null ? null : 100 * value));
    const ink = style("--ink"), line = style("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const clock = new Intl.DateTimeFormat([], { timeZone: told.zone, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const times = { ...axis, values: (_, marks) => marks.map((mark) => clock.format(1000 * mark)) };
    const limits = told.limits.map((each) => told.t.map(() => 100 * each.limit));
    box.plot = new uPlot({
      width: box.clientWidth,
      height: HEIGHT,
      cursor: { show: false },
      legend: { live: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 0.001)] } },
      axes: [times, { ...axis, size: 64, values: (_, marks) => marks.map((mark) => `${mark} %`) }],
      series: [
        {},
        { label: box.dataset.label, stroke: ink, width: 2, points: { show: false } },
        ...told.limits.map((each) => ({ label: each.alarm, stroke: style("--bad"), width: 1, dash: [6, 4], points: { show: false } })),
      ],
    }, [told.t, percent, ...limits], box);
  };
  const all = () => { if (!document.hidden) document.querySelectorAll("[data-chart]").forEach(draw); };
  all();
  setInterval(all, EVERY_MS);
  addEventListener("resize", all);
})();
