(() => {
  "use strict";
  const race = JSON.parse(document.getElementById("data-race").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const SECONDS = 12; // how long all steps take at normal speed
  const node = (id) => document.getElementById(id);
  const make = (kind, attributes, parent) => {
    const element = document.createElementNS(SVG, kind);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  };
  const sums = (values) => {
    let total = 0;
    return values.map((value) => (total += value));
  };
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const [moving, now] = [node("moving"), node("now")];
  const [play, scrub, speed, told] = [node("play"), node("scrub"), node("speed"), node("step")];
  const width = Number(node("heights").dataset.width);

  const rules = race.rules.map((rule, index) => {
    const group = make("g", { "data-rule": index, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round" }, moving);
    const halo = make("polyline", { stroke: "var(--panel)", "stroke-width": 6.5, "stroke-opacity": 0.75 }, group);
    const line = make("polyline", { stroke: rule.colour, "stroke-width": 3.2, "stroke-dasharray": rule.dash.join(" ") || "none" }, group);
    const dot = make("circle", { r: 7.5, fill: rule.colour, stroke: "var(--panel)", "stroke-width": 2 }, group);
    const cross = document.querySelector(`.cross[data-rule="${index}"]`);
    return { ...rule, cross, k: sums(rule.k), x: sums(rule.x), y: sums(rule.y), halo, line, dot };
  });

  // The last listed point at or before a step: points that did not move are not listed.
  const indexAt = (rule, step) => {
    let [low, high] = [0, rule.k.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (rule.k[middle] <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const show = (step) => {
    for (const rule of rules) {
      const last = indexAt(rule, step);
      let points = "";
      for (let i = 0; i <= last; i++) points += rule.x[i] + "," + rule.y[i] + " ";
      const isGone = rule.ends && (step > rule.last || step === race.steps);
      rule.halo.setAttribute("points", points);
      rule.line.setAttribute("points", points);
      rule.dot.setAttribute("visibility", isGone ? "hidden" : "inherit");
      if (rule.cross) rule.cross.setAttribute("visibility", isGone ? "inherit" : "hidden");
      rule.dot.setAttribute("cx", rule.x[last]);
      rule.dot.setAttribute("cy", rule.y[last]);
    }
    const x = (step / race.steps) * width;
    now.setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    now.setAttribute("visibility", step < race.steps ? "visible" : "hidden");
    // At the end stand the whole paths, with the marks of rules that diverged.
    document.documentElement.classList.toggle("running", step < race.steps);
  };

  let [at, isPlaying, before] = [race.steps, false, 0];
  const tell = () => {
    const step = Math.floor(at);
    show(step);
    scrub.value = step;
    told.textContent = step;
  };
  const setPlaying = (value) => {
    isPlaying = value;
    play.textContent = value ? "Pause" : "Play";
    if (value) {
      before = 0;
      requestAnimationFrame(tick);
    }
  };
  const tick = (time) => {
    if (!isPlaying) return;
    if (before) {
      const passed = (Math.min(time - before, 250) / 1000) * Number(speed.value);
      at = Math.min(race.steps, at + (race.steps * passed) / SECONDS);
    }
    before = time;
    // Where less motion is asked for, the picture changes twenty times in all.
    const part = Math.max(1, Math.floor(race.steps / 20));
    if (!isCalm || at === race.steps || Math.floor(at / part) !== Math.floor(Number(scrub.value) / part)) tell();
    if (at >= race.steps) setPlaying(false);
    else requestAnimationFrame(tick);
  };

  play.addEventListener("click", () => {
    if (!isPlaying && at >= race.steps) at = 0;
    tell();
    setPlaying(!isPlaying);
  });
  node("restart").addEventListener("click", () => {
    at = 0;
    tell();
    if (!isPlaying) setPlaying(true);
  });
  scrub.addEventListener("input", () => {
    setPlaying(false);
    at = Number(scrub.value);
    tell();
  });
  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isShown));
      for (const part of document.querySelectorAll(`svg [data-rule="${button.dataset.toggle}"]`)) {
        part.toggleAttribute("hidden", !isShown);
      }
    });
  }
  document.querySelector(".controls.play").hidden = false;
  tell();
  if (!isCalm) {
    at = 0;
    tell();
    setPlaying(true);
  }
})();
