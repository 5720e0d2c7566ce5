"use strict";
// The figures of the report: drawn as SVG from the numbers in the page, without a network.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#882255", "#999933", "#7f7f7f"];
  const dashes = ["", "6 3", "2 2", "8 3 2 3"];
  const style = new Map(data.names.map((name, i) => [name, {
    color: palette[i % palette.length],
    dash: dashes[Math.floor(i / palette.length) % dashes.length],
  }]));
  const state = { hidden: new Set(), time: false, band: true, runs: false };
  const charts = [];

  const element = (name, attributes = {}, parent = null) => {
    const svg = ["svg", "path", "line", "text", "g", "rect", "circle"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.appendChild(made);
    return made;
  };

  // Round numbers that divide a range into about `count` parts.
  const ticks = (low, high, count) => {
    const span = high - low || 1;
    const power = 10 ** Math.floor(Math.log10(span / count));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= count);
    const all = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) {
      all.push(Math.abs(at) < step * 1e-9 ? 0 : at);
    }
    return all;
  };

  const short = (value) => {
    const size = Math.abs(value);
    if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
    if (size >= 1e4) return `${+(value / 1e3).toPrecision(4)}k`;
    if (size !== 0 && size < 1e-3) return value.toExponential(1);
    return `${+value.toPrecision(4)}`;
  };

  // A chart of `series()`: [{name, points: [[x, y, low, high, complete]], thin}].
  const chart = (parent, title, text, xLabel, series, marks = () => []) => {
    const box = element("div", { class: "chart" }, parent);
    element("h3", {}, box).textContent = title;
    for (const line of text) element("p", { class: "soft" }, box).textContent = line;
    const svg = element("svg", { role: "img", "aria-label": title }, box);
    const tip = element("div", { class: "tip", hidden: "" }, box);
    let scale = null;

    const draw = () => {
      svg.replaceChildren();
      const width = Math.max(box.clientWidth - 24, 200), height = Math.round(Math.max(200, width * 0.55));
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      const visible = series().filter((s) => !state.hidden.has(s.name) && s.points.length);
      const all = visible.flatMap((s) => s.points);
      if (!all.length) {
        element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, svg).textContent = "nothing shown";
        scale = null;
        return;
      }
      const ys = all.flatMap((p) => state.band && p[2] !== null ? [p[1], p[2], p[3]] : [p[1]]);
      let low = Math.min(...ys), high = Math.max(...ys);
      if (low === high) { low -= 1; high += 1; }
      const [left, right, top, bottom] = [52, width - 18, 8, height - 34];
      const xLow = Math.min(0, ...all.map((p) => p[0])), xHigh = Math.max(...all.map((p) => p[0])) || 1;
      const x = (v) => left + (v - xLow) / (xHigh - xLow || 1) * (right - left);
      const y = (v) => bottom - (v - low) / (high - low) * (bottom - top);
      scale = { x, y, xLow, xHigh, left, right, top, bottom, width, visible };
      for (const at of ticks(low, high, 5)) {
        element("line", { class: "grid", x1: left, x2: right, y1: y(at), y2: y(at) }, svg);
        element("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, svg).textContent = short(at);
      }
      for (const at of ticks(xLow, xHigh, width < 420 ? 4 : 7)) {
        element("text", { x: x(at), y: bottom + 15, "text-anchor": "middle" }, svg).textContent = short(at);
      }
      element("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, svg).textContent = xLabel();
      for (const at of marks()) {
        if (at > xLow && at < xHigh) element("line", { class: "cursor", x1: x(at), x2: x(at), y1: top, y2: bottom }, svg);
      }
      for (const { name, points, thin } of visible) {
        const { color, dash } = style.get(name);
        const band = points.filter((p) => p[2] !== null);
        if (state.band && !thin && band.length > 1) {
          const upper = band.map((p) => `${x(p[0])},${y(p[3])}`);
          const lower = band.map((p) => `${x(p[0])},${y(p[2])}`).reverse();
          element("path", { d: `M${upper.concat(lower).join("L")}Z`, fill: color, opacity: 0.18 }, svg);
        }
        // Complete and incomplete stretches are lines of their own.
        for (let i = 1; i < points.length; i++) {
          const [a, b] = [points[i - 1], points[i]];
          element("path", {
            d: `M${x(a[0])},${y(a[1])}L${x(b[0])},${y(b[1])}`, stroke: color, fill: "none",
            "stroke-width": thin ? 0.8 : 2, opacity: thin ? 0.6 : 1,
            "stroke-dasharray": b[4] === false ? "2 4" : dash,
          }, svg);
        }
        if (points.length === 1) {
          element("circle", { cx: x(points[0][0]), cy: y(points[0][1]), r: 3, fill: color }, svg);
        }
      }
    };

    const leave = () => {
      tip.hidden = true;
      svg.querySelectorAll(".moving").forEach((line) => line.remove());
    };
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("pointermove", (event) => {
      if (!scale) return;
      leave();
      const bounds = svg.getBoundingClientRect();
      const at = (event.clientX - bounds.left) / bounds.width * scale.width;
      const value = scale.xLow + (at - scale.left) / (scale.right - scale.left) * (scale.xHigh - scale.xLow);
      const rows = scale.visible.filter((s) => !s.thin).map(({ name, points }) => {
        const near = points.reduce((a, b) => Math.abs(b[0] - value) < Math.abs(a[0] - value) ? b : a);
        return { name, near };
      }).sort((a, b) => b.near[1] - a.near[1]).slice(0, 12);
      if (!rows.length) return;
      const nearest = rows.reduce((a, b) => Math.abs(b.near[0] - value) < Math.abs(a.near[0] - value) ? b : a).near[0];
      element("line", { class: "cursor moving", x1: scale.x(nearest), x2: scale.x(nearest), y1: scale.top, y2: scale.bottom }, svg);
      tip.replaceChildren();
      element("div", { class: "soft" }, tip).textContent = `${xLabel()} ${short(nearest)}`;
      for (const { name, near } of rows) {
        const row = element("div", {}, tip);
        element("span", { style: `color:${style.get(name).color}` }, row).textContent = "■ ";
        const interval = near[2] === null ? "" : ` [${short(near[2])}, ${short(near[3])}]`;
        row.append(`${name}: ${short(near[1])}${interval}`);
      }
      tip.hidden = false;
      const place = event.clientX - box.getBoundingClientRect().left;
      const most = Math.max(0, box.clientWidth - tip.offsetWidth - 8);
      tip.style.left = `${Math.max(4, Math.min(place + 14, most))}px`;
      tip.style.top = `${svg.offsetTop + 10}px`;
    });
    charts.push(draw);
    draw();
    new ResizeObserver(draw).observe(box);
  };

  const redraw = () => charts.forEach((draw) => draw());

  const legend = document.getElementById("legend");
  for (const name of data.names) {
    const button = element("button", { type: "button", "aria-pressed": "true" }, legend);
    const { color, dash } = style.get(name);
    element("i", { style: `border-color:${color};border-top-style:${dash ? "dashed" : "solid"}` }, button);
    button.append(name);
    button.addEventListener("click", () => {
      if (!state.hidden.delete(name)) state.hidden.add(name);
      button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
      redraw();
    });
  }
  const choice = (text, key) => {
    const label = element("label", {}, document.getElementById("choices"));
    const input = element("input", { type: "checkbox" }, label);
    input.checked = state[key];
    label.append(` ${text}`);
    input.addEventListener("change", () => { state[key] = input.checked; redraw(); });
  };
  choice("hours instead of steps", "time");
  choice("intervals", "band");
  choice("single runs", "runs");

  for (const task of data.tasks) {
    const series = () => task.experiments.flatMap((e) => {
      const own = state.time ? e.time : e.steps;
      const runs = state.runs && !state.time
        ? e.runs.map((points) => ({ name: e.name, thin: true, points })) : [];
      return own ? [...runs, { name: e.name, points: own }] : runs;
    });
    const marks = () => state.time ? [] : [...new Set(task.experiments.map((e) => e.warmup).filter((w) => w))];
    const untimed = task.experiments.filter((e) => !e.time).map((e) => e.name);
    const text = untimed.length ? [`Without times in their logs: ${untimed.join(", ")}.`] : [];
    chart(document.getElementById("curves"), task.name, text,
      () => state.time ? "hours" : "environment steps", series, marks);
  }
  if (data.profiles.length) {
    chart(document.getElementById("profiles"), "Performance profile",
      ["The share of runs whose score exceeds a threshold; higher is better everywhere."],
      () => "score", () => data.profiles);
  }
  for (const diagnosis of data.diagnoses) {
    for (const figure of diagnosis.figures) {
      chart(document.getElementById("diagnoses"), `${diagnosis.title}, ${figure.task}`,
        [diagnosis.meaning, `Trouble: ${diagnosis.trouble}`], () => "environment steps", () => figure.series);
    }
  }
})();
