// What every player's page shows: the picture, which appliance it comes from, and what steering said.
//
// Which appliance serves is seen from outside the player, by what the browser loads; only the text of a steering
// manifest is the player's to tell. Tests read `page.report()`.
"use strict";

const COLORS = ["#1f77b4", "#e0802b", "#2e9e5b", "#8b5fbf", "#c44e52", "#7f6a55"];

class Page {
  constructor(player, version, format) {
    this.colors = new Map();
    this.segments = new Map();
    this.errors = [];
    this.polls = [];
    this.stalls = 0;
    this.video = document.querySelector("video");
    this.at("player").textContent = `${player} ${version} plays ${format}`;
    document.title = `${player}, steered`;
    // Buffers that run dry once it plays; the first wait is for the first segment.
    this.video.addEventListener("waiting", () => { if (this.video.currentTime > 0.5) this.stalls += 1; });
    const seen = (list) => list.getEntries().forEach((entry) => this.loaded(new URL(entry.name), entry));
    new PerformanceObserver(seen).observe({ type: "resource", buffered: true });
  }

  at(id) {
    return document.getElementById(id);
  }

  color(host) {
    if (!this.colors.has(host)) this.colors.set(host, COLORS[this.colors.size % COLORS.length]);
    return this.colors.get(host);
  }

  // Something was loaded: a segment is one more of its appliance's.
  loaded(url, entry) {
    if (url.pathname.startsWith("/steering/")) this.polls.push({ at: entry.startTime / 1000, url: url.href });
    if (!/^\/video\/\d+\.m4s$/.test(url.pathname)) return;
    const host = url.host;
    this.segments.set(host, (this.segments.get(host) || 0) + 1);
    this.at("now").textContent = host;
    this.at("now").style.setProperty("--of", this.color(host));
    const mark = document.createElement("i");
    mark.title = url.pathname;
    mark.style.setProperty("--of", this.color(host));
    this.at("strip").append(mark);
    const lines = [...this.segments].map(([host, count]) => {
      const line = document.createElement("li");
      line.style.setProperty("--of", this.color(host));
      line.append(host, Object.assign(document.createElement("b"), { textContent: count }));
      return line;
    });
    this.at("hosts").replaceChildren(...lines);
  }

  // A steering manifest was read by the player; equal ones in a row are one line.
  steered(manifest) {
    const clones = (manifest["PATHWAY-CLONES"] || []).map((clone) => `${clone.ID} at ${clone["URI-REPLACEMENT"].HOST}`);
    const [first, ...rest] = manifest["PATHWAY-PRIORITY"] || [];
    const key = JSON.stringify([first, rest, clones]);
    const body = this.at("steering");
    if (this.last?.key === key) {
      this.last.count += 1;
    } else {
      this.last = { key, count: 1, row: document.createElement("tr") };
      body.prepend(this.last.row);
    }
    const at = (performance.now() / 1000).toFixed(1);
    const cells = [`${at} s`, "", clones.join(", ") || "none", `${manifest.TTL} s`, `${this.last.count}`];
    this.last.row.replaceChildren(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    const order = this.last.row.children[1];
    order.append(Object.assign(document.createElement("em"), { textContent: first }), rest.map((id) => ` › ${id}`).join(""));
  }

  // The player could not go on, or says so.
  failed(what) {
    this.errors.push(what);
    this.at("errors").textContent = what;
  }

  report() {
    const { currentTime, paused, error } = this.video;
    return { currentTime, paused, error: error && error.message, errors: this.errors, polls: this.polls, stalls: this.stalls };
  }
}
