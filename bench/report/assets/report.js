(() => {
"use strict";

const charts = JSON.parse(document.getElementById("charts").textContent) || [];

// Colours that those who see few of them can tell apart: Okabe and Ito's, with those changed that are too pale on white or too dark on
// black. Lines that are rates take theirs from viridis, in order. Beyond the sixth line, dashes tell.
const palettes = {
  light: { lines: ["#0072b2", "#d55e00", "#009e73", "#b5478f", "#a87900", "#333333"], rates: [0.86, 0], ink: "#5b6470", grid: "#e9ebee", knee: "#a63200" },
  dark: { lines: ["#56b4e9", "#ff9a3d", "#2fc79a", "#e28fc0", "#f0e442", "#e0e0e0"], rates: [0.28, 1], ink: "#9aa4b0", grid: "#262c33", knee: "#ffa070" },
};
const viridis = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const dashes = [[], [7, 4], [2, 3]];

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;
const palette = () => dark.matches && !printing ? palettes.dark : palettes.light;

function color(chart, i, n) {
  const p = palette();
  if (!chart.rates) return p.lines[i % p.lines.length];
  const part = n > 1 ? i / (n - 1) : 1;
  const at = (p.rates[0] + (p.rates[1] - p.rates[0]) * part) * (viridis.length - 1);
  const k = Math.min(Math.floor(at), viridis.length - 2);
  return "rgb(" + viridis[k].map((v, c) => Math.round(v + (viridis[k + 1][c] - v) * (at - k))).join(",") + ")";
}

function digits(v) {
  const a = Math.abs(v);
  return v.toFixed(a < 0.995 ? 3 : a < 9.995 ? 2 : a < 99.95 ? 1 : 0);
}

// nanos writes a time in the unit that suits it; plain leaves out zeros at the end.
function nanos(v, plain) {
  if (v == null) return "–";
  const [unit, by] = v < 999.5 ? ["ns", 1] : v < 999.5e3 ? ["µs", 1e3] : v < 999.5e6 ? ["ms", 1e6] : ["s", 1e9];
  return (plain ? String(+(v / by).toPrecision(3)) : by === 1 ? v.toFixed(0) : digits(v / by)) + " " + unit;
}

const count = (v) => Math.round(v).toLocaleString("en-US");
const thousands = (v) => v >= 1e6 ? +(v / 1e6).toPrecision(3) + " M" : v >= 1e3 ? +(v / 1e3).toPrecision(3) + " k" : String(+v.toPrecision(3));
const percentile = (x) => x <= 0 ? "0 %" : +(100 * (1 - 10 ** -x)).toFixed(Math.max(0, Math.ceil(x) - 1) + (Number.isInteger(x) ? 0 : 1)) + " %";
const kinds = {
  percentile: { label: "percentile", axis: percentile, tip: (x) => "at " + percentile(x), points: false, gaps: false },
  time: { label: "measured time", axis: (x) => +x.toPrecision(4) + " s", tip: (x) => "from " + +x.toFixed(3) + " s on", points: false, gaps: false },
  rate: { label: "achieved, replies a second", axis: thousands, tip: (x) => count(x) + " replies/s", points: true, gaps: true },
};

// steps are round numbers from low to high: 1, 2, 5, 10 and so on, or powers of ten alone where that would be too many.
function logSteps(low, high) {
  const factors = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
  const out = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    for (const f of factors) {
      const v = f * 10 ** e;
      if (v >= low * 0.999 && v <= high * 1.001) out.push(v);
    }
  }
  return out;
}

function linearStep(high, parts) {
  const raw = high / parts, unit = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((f) => f * unit).find((s) => s >= raw * 0.999);
}

function linearSteps(high, parts) {
  const step = linearStep(high, parts), out = [];
  for (let k = 0; k * step <= high * 1.001; k++) out.push(k * step);
  return out;
}

function extent(series) {
  let low = Infinity, high = 0;
  for (const ys of series) for (const v of ys) if (v != null) { low = Math.min(low, v); high = Math.max(high, v); }
  return high > 0 ? [low, high] : [1e3, 1e6];
}

// bounds returns the ends of the y axis, for the lines that are shown.
function bounds(u, log) {
  const [low, high] = extent(u.data.slice(1).filter((_, i) => u.series[i + 1].show));
  if (!log) return [0, Math.ceil(high * 1.03 / linearStep(high, 5)) * linearStep(high, 5) || 1];
  const down = 10 ** Math.floor(Math.log10(low)), up = 10 ** Math.floor(Math.log10(high));
  return [[5, 2, 1].map((f) => f * down).find((v) => v <= low * 0.97) || down / 2, [1, 2, 5, 10].map((f) => f * up).find((v) => v >= high * 1.03) || 20 * up];
}

// inOrder draws a line through its points in an order of their own: a server that cannot follow may achieve less at a higher rate, and
// the line bends back.
function inOrder(order) {
  return (u, i) => {
    const stroke = new Path2D();
    order.forEach((at) => {
      if (u.data[i][at] != null) stroke.lineTo(u.valToPos(u.data[0][at], "x", true), u.valToPos(u.data[i][at], "y", true));
    });
    return { stroke, fill: null, clip: null, band: null, gaps: null, flags: 1 };
  };
}

const alive = [];

function mount(figure) {
  const chart = charts[+figure.dataset.chart], kind = kinds[chart.kind];
  const plot = figure.querySelector(".plot"), controls = figure.querySelector(".controls");
  // One line: all of its percentiles at once. Several: one percentile, and buttons to choose it.
  const single = chart.names.length === 1 && chart.metrics.length > 1;
  const state = { log: true, metric: chart.start };
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  let u = null;

  function choice(label, names, get, set) {
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    names.forEach((name, i) => {
      const b = document.createElement("button");
      b.type = "button";
      b.textContent = name;
      b.setAttribute("aria-pressed", String(get() === i));
      b.addEventListener("click", () => {
        set(i);
        [...group.children].forEach((o, k) => o.setAttribute("aria-pressed", String(k === i)));
        draw();
      });
      group.append(b);
    });
    controls.append(group);
  }
  if (!single && chart.metrics.length > 1) choice("Percentile", chart.metrics.map((m) => m.name), () => state.metric, (i) => { state.metric = i; });
  choice("Scale", ["logarithmic", "linear"], () => state.log ? 0 : 1, (i) => { state.log = i === 0; });

  function point(u) {
    const { left, top, idx } = u.cursor;
    tip.hidden = idx == null || left < 0;
    if (tip.hidden) return;
    const rows = [];
    for (let i = 1; i < u.series.length; i++) {
      if (!u.series[i].show) continue;
      let at = idx;
      if (kind.gaps && u.cursor.idxs) at = u.cursor.idxs[i];
      const v = at == null ? null : u.data[i][at];
      if (v != null) rows.push([u.series[i].label, v, u.series[i].shade, at]);
    }
    tip.hidden = rows.length === 0;
    rows.sort((a, b) => b[1] - a[1]);
    const head = document.createElement("div");
    head.className = "head";
    const own = new Set(rows.map((r) => r[3])).size > 1; // each line has its nearest point elsewhere
    head.textContent = own ? "nearest points" : kind.tip(u.data[0][rows.length ? rows[0][3] : idx]);
    tip.replaceChildren(head, ...rows.map(([name, v, shade, at]) => {
      const row = document.createElement("div"), i = document.createElement("i"), n = document.createElement("span"), b = document.createElement("b");
      i.style.borderTopColor = shade;
      n.className = "n";
      n.textContent = name;
      b.textContent = nanos(v);
      row.append(i, n, b);
      if (own) {
        const where = document.createElement("small");
        where.textContent = " at " + thousands(u.data[0][at]) + "/s";
        n.append(where);
      }
      return row;
    }));
    const x = left + u.over.offsetLeft, width = tip.offsetWidth;
    tip.style.transform = `translate(${Math.max(0, x + 14 + width > plot.clientWidth ? x - width - 14 : x + 14)}px, ${Math.max(0, top + 8)}px)`;
  }

  function marks(u) {
    const { ctx, bbox } = u, p = palette(), ratio = devicePixelRatio;
    ctx.save();
    ctx.lineWidth = ratio;
    for (const x of chart.bounds || []) {
      const at = Math.round(u.valToPos(x, "x", true)) + 0.5;
      ctx.strokeStyle = p.ink;
      ctx.globalAlpha = 0.45;
      ctx.setLineDash([2 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
    (chart.knees || []).forEach((knee, k) => {
      const at = Math.round(u.valToPos(knee.x, "x", true)) + 0.5;
      const i = chart.names.indexOf(knee.name);
      ctx.strokeStyle = ctx.fillStyle = chart.names.length > 1 ? color(chart, i, chart.names.length) : p.knee;
      ctx.setLineDash([5 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
      ctx.textAlign = "right";
      ctx.fillText("knee " + thousands(knee.x) + "/s", at - 6 * ratio, bbox.top + (14 + 16 * k) * ratio);
    });
    ctx.restore();
  }

  function draw() {
    const p = palette(), width = printing ? 660 : plot.clientWidth, narrow = width < 520;
    const lines = single ? chart.metrics.map((m) => [m.name, m.y[0]]) : chart.names.map((n, i) => [n, chart.metrics[state.metric].y[i]]);
    const last = chart.x[chart.x.length - 1];
    const shown = u && u.series.length === lines.length + 1 ? u.series.map((s) => s.show) : null;
    if (u) u.destroy();
    const axis = { stroke: p.ink, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 20,
      grid: { stroke: p.grid, width: 1 }, ticks: { stroke: p.grid, width: 1, size: 4 } };
    const xRange = chart.kind === "percentile" ? [0, Math.max(1, last)] : chart.kind === "rate" ? [0, last * 1.04] : [0, Math.max(last, 1e-3)];
    u = new uPlot({
      width, height: narrow ? 280 : 350,
      padding: [12, narrow ? 14 : 24, 0, 0],
      focus: { alpha: 0.25 },
      cursor: { y: false, drag: { x: true, y: false }, focus: { prox: 24 }, points: { size: 7 },
        dataIdx: kind.gaps ? (u, i, at, x) => nearest(u, i, x) : undefined },
      legend: { live: false, markers: { stroke: (u, i) => u.series[i].shade, dash: (u, i) => u.series[i].dash.length ? "dashed" : "solid", width: 3 } },
      scales: {
        x: { time: false, range: (u, low, high) => low === chart.x[0] && high === last ? xRange : [low, high] },
        y: { distr: state.log ? 3 : 1, range: (u) => bounds(u, state.log) },
      },
      axes: [
        { ...axis, size: 34, label: kind.label, space: narrow ? 55 : 70, values: (u, splits) => splits.map(kind.axis),
          ...(chart.kind === "percentile" ? { splits: (u, a, low, high) => {
            const whole = [];
            for (let v = Math.ceil(low); v <= high; v++) whole.push(v);
            return whole.length > 1 ? whole : [low, (low + high) / 2, high];
          } } : {}) },
        { ...axis, size: 62, values: (u, splits) => splits.map((v) => v == null ? "" : v === 0 ? "0" : nanos(v, true)),
          splits: (u, a, low, high) => state.log ? logSteps(low, high) : linearSteps(high, 5), filter: (u, splits) => splits },
      ],
      series: [{}, ...lines.map(([name], i) => {
        const shade = color(chart, i, lines.length);
        const dash = chart.rates && !single ? [] : dashes[Math.floor(i / p.lines.length) % dashes.length];
        return { label: name, stroke: shade, shade, width: chart.rates ? 1.75 : 2, dash, spanGaps: kind.gaps, show: shown ? shown[i + 1] : true,
          ...(chart.order ? { paths: inOrder(chart.order[single ? 0 : i]) } : {}),
          points: { show: kind.points, size: 6, fill: shade, stroke: shade } };
      })],
      hooks: { setCursor: [point], draw: [marks, () => { figure.dataset.drawn = "yes"; }] },
    }, [chart.x, ...lines.map(([, ys]) => ys)], plot);
    plot.append(tip);
    tip.hidden = true;
  }

  // nearest is the point of a line that lies nearest to a place: lines of a curve have points at rates of their own.
  function nearest(u, i, x) {
    if (i === 0) return null;
    const xs = u.data[0], ys = u.data[i];
    let best = null;
    for (let k = 0; k < xs.length; k++) if (ys[k] != null && (best == null || Math.abs(xs[k] - x) < Math.abs(xs[best] - x))) best = k;
    return best;
  }

  draw();
  let known = plot.clientWidth;
  new ResizeObserver(() => {
    if (plot.clientWidth === known || printing) return;
    known = plot.clientWidth;
    draw();
  }).observe(plot);
  alive.push(draw);
}

document.querySelectorAll("figure.chart").forEach(mount);
const redraw = () => alive.forEach((draw) => draw());
dark.addEventListener("change", redraw);
addEventListener("beforeprint", () => { printing = true; redraw(); });
addEventListener("afterprint", () => { printing = false; redraw(); });

// The last thing that happens: a page without this mark has stopped in the middle.
document.documentElement.dataset.charts = String(alive.length);
})();
