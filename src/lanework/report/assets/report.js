(() => {
  "use strict";
  const read = (id) => {
    const node = document.getElementById(id);
    return node ? JSON.parse(node.textContent) : null;
  };
  const charts = read("data-charts") || {};
  const config = read("data-config") || {};
  const fail = (place, error) => {
    place.innerHTML = "";
    const text = document.createElement("p");
    text.className = "error";
    text.textContent = "This chart could not be drawn: " + error.message;
    place.append(text);
    console.error(error);
  };
  const draw = (place, spec) =>
    vegaEmbed(place, spec, { actions: false, renderer: "svg", config, tooltip: { theme: "custom" } })
      .then((result) => {
        place.dataset.drawn = "yes";
        return result;
      })
      .catch((error) => fail(place, error));

  const drawIn = (box) => {
    for (const place of box.querySelectorAll(".chart[data-chart]:not([data-drawn])")) {
      // What is hidden has no width yet: it is drawn when it is shown.
      if (!place.closest("[hidden]")) draw(place, charts[place.dataset.chart]);
    }
  };
  drawIn(document);

  // ---- layers by time: one run at a time --------------------------------------------------------
  const chosen = document.getElementById("health-choice");
  if (chosen) {
    const show = () => {
      for (const box of document.querySelectorAll("[data-health]")) {
        box.hidden = box.dataset.health !== chosen.value;
        drawIn(box);
      }
    };
    chosen.addEventListener("change", show);
    show();
  }

  // ---- learning curves: metric, set of lines, single seeds, single lines, zoom -----------------
  const curves = read("data-curves");
  const box = document.getElementById("curve-chart");
  if (curves && box) {
    const state = { metric: curves.metrics[0], choice: curves.choices[0].name, seeds: false, off: new Set(), view: null, drawing: 0 };
    const legend = document.getElementById("curve-legend");
    const lines = () => curves.choices.find((choice) => choice.name === state.choice).lines;
    const rowsOf = (line) => {
      const c = (curves.bands[state.metric] || {})[line.arm];
      if (!c) return [];
      const rows = c.e.map((e, i) => ({ a: line.label, e, m: c.m[i], ...(state.seeds ? {} : { l: c.l[i], h: c.h[i] }) })).filter((row) => row.m !== null);
      if (c.gone && rows.length) rows[rows.length - 1].d = 1;
      return rows;
    };
    const seedsOf = (line) => {
      const epochs = ((curves.bands[state.metric] || {})[line.arm] || {}).e;
      const seeds = (curves.seeds[state.metric] || {})[line.arm] || {};
      return Object.entries(seeds).flatMap(([s, values]) =>
        values.map((m, i) => ({ a: line.label, e: epochs[i], m, s })).filter((row) => row.m !== null)
      );
    };
    const fill = () => {
      const shown = lines().filter((line) => !state.off.has(line.arm));
      return { mean: shown.flatMap(rowsOf), seeds: state.seeds ? shown.flatMap(seedsOf) : [] };
    };
    const redraw = () => {
      const spec = structuredClone(curves.specs[state.metric]);
      const domain = lines().map((line) => line.label);
      const ranges = { color: lines().map((line) => line.colour), strokeDash: lines().map((line) => line.dash) };
      spec.datasets = fill();
      const has = { bands: spec.datasets.mean.some((row) => typeof row.l === "number"), seeds: state.seeds, ends: spec.datasets.mean.some((row) => row.d) };
      spec.layer = spec.layer.filter((layer) => has[layer.name] !== false);
      for (const layer of spec.layer) {
        for (const channel of Object.keys(ranges)) {
          const item = (layer.encoding || {})[channel];
          if (item && item.field) item.scale = { domain, range: ranges[channel] };
        }
      }
      const turn = ++state.drawing;
      return draw(box, spec).then((result) => {
        if (result && turn === state.drawing) state.view = result.view;
      });
    };
    const showLegend = () => {
      legend.replaceChildren(
        ...lines().map((line) => {
          const item = document.createElement("li");
          const button = document.createElement("button");
          button.type = "button";
          button.setAttribute("aria-pressed", String(!state.off.has(line.arm)));
          button.innerHTML = `<svg viewBox="0 0 24 8" aria-hidden="true"><line x1="0" y1="4" x2="24" y2="4" stroke-width="2.5" stroke="${line.colour}" stroke-dasharray="${line.dash[1] ? line.dash.join(" ") : "none"}"/></svg>`;
          button.append(line.label);
          button.addEventListener("click", () => {
            if (!state.off.delete(line.arm)) state.off.add(line.arm);
            button.setAttribute("aria-pressed", String(!state.off.has(line.arm)));
            redraw();
          });
          item.append(button);
          return item;
        })
      );
    };
    for (const button of document.querySelectorAll("[data-metric]")) {
      button.addEventListener("click", () => {
        state.metric = button.dataset.metric;
        for (const other of document.querySelectorAll("[data-metric]")) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        redraw();
      });
    }
    const select = document.getElementById("curve-choice");
    if (select) {
      select.addEventListener("change", () => {
        state.choice = select.value;
        state.off.clear();
        showLegend();
        redraw();
      });
    }
    const seeds = document.getElementById("curve-seeds");
    seeds.addEventListener("click", () => {
      state.seeds = !state.seeds;
      seeds.setAttribute("aria-pressed", String(state.seeds));
      redraw();
    });
    const lastHalf = () => {
      if (!state.view) return;
      const [low, high] = state.view.scale("x").domain().map(Number);
      const start = low + (high - low) / 2;
      const seen = fill().mean.filter((row) => row.e >= start && row.e <= high).flatMap((row) => [row.m, row.l, row.h]);
      const known = seen.filter((value) => typeof value === "number");
      if (!known.length) return;
      const [bottom, top] = [Math.min(...known), Math.max(...known)];
      const isLog = state.view.scale("y").type === "log";
      const air = (top - bottom) * 0.08 || 0.01;
      const ends = isLog ? [bottom / 1.1, top * 1.1] : [bottom - air, top + air];
      state.view.signal("zoom_e", [start, high]).signal("zoom_m", ends).runAsync();
    };
    const actions = { in: lastHalf, all: redraw };
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", actions[button.dataset.zoom]);
    }
    showLegend();
    redraw();
  }

  // ---- tables: sort by a column, filter by text and verdict ------------------------------------
  const keyOf = (row, index) => {
    const cell = row.cells[index];
    const raw = cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
    const number = Number(raw);
    return raw === "" ? null : Number.isNaN(number) ? raw : number;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const rises = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rises ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [keyOf(row, index), row]);
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
          return rises ? order : -order;
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }
  for (const group of document.querySelectorAll("[data-filter]")) {
    const table = document.getElementById(group.dataset.filter);
    const text = group.querySelector("input");
    const verdict = group.querySelector("select");
    const left = group.querySelector("output");
    const apply = () => {
      const word = text.value.trim().toLowerCase();
      let count = 0;
      for (const row of table.tBodies[0].rows) {
        const fits = (!word || row.textContent.toLowerCase().includes(word)) && (!verdict || !verdict.value || row.dataset.verdict === verdict.value);
        row.hidden = !fits;
        count += fits;
      }
      left.textContent = `${count} shown`;
    };
    text.addEventListener("input", apply);
    if (verdict) verdict.addEventListener("change", apply);
  }

  // ---- copying the study file ------------------------------------------------------------------
  for (const button of document.querySelectorAll("[data-copy]")) {
    const words = button.textContent;
    const say = (text) => {
      button.textContent = text;
      setTimeout(() => (button.textContent = words), 1600);
    };
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        say("Copied");
      } catch {
        getSelection().selectAllChildren(source);
        say(document.execCommand("copy") ? "Copied" : "Selected: press Ctrl + C");
      }
    });
  }
})();
