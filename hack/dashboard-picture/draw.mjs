// Draws the Grafana dashboard as a PNG, without Grafana: the panels of the JSON, with what Prometheus answers to their queries.
// The time is the whole that Prometheus has seen since <start>.
//
//   npm ci && node draw.mjs <dashboard.json> <Prometheus URL> <start, seconds since 1970> <picture.png>
import {readFileSync, writeFileSync} from 'node:fs';
import * as echarts from 'echarts';
import {Resvg} from '@resvg/resvg-js';

const [file, prometheus, since, picture] = process.argv.slice(2);
const dashboard = JSON.parse(readFileSync(file));
const start = +since, end = Date.now() / 1000, step = 5;
const column = 76, line = 37, gap = 8, font = 'DejaVu Sans';
const text = '#ccccdc', faint = '#8e8e9c', background = '#111217', plate = '#181b1f', border = '#2c3235';
const named = {green: '#73bf69', red: '#f2495c', blue: '#5794f2', orange: '#ff9830', yellow: '#fade2a', purple: '#b877d9'};
const palette = ['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#705da0', '#37872d', '#fade2a'];
const escaped = value => String(value).replace(/&/g, '&amp;').replace(/</g, '&lt;');
const words = (x, y, value, size, colour, extra = '') =>
  `<text x="${x}" y="${y}" font-family="${font}" font-size="${size}" fill="${colour}" ${extra}>${escaped(value)}</text>`;

async function ask(target) {
  const query = target.expr.replace(/\$(job|namespace|environment)/g, '.*').replace(/\$__rate_interval/g, `${4 * step}s`);
  const path = target.instant ? 'query' : 'query_range';
  const answer = await fetch(`${prometheus}/api/v1/${path}?` + new URLSearchParams(target.instant ? {query, time: end} : {query, start, end, step}));
  const {data, error} = await answer.json();
  if (error) throw new Error(`${query}: ${error}`);
  return data.result;
}

function duration(seconds) {
  const s = Math.round(Math.abs(seconds)), sign = seconds < 0 ? '-' : '';
  if (s >= 3600) return `${sign}${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return s >= 60 ? `${sign}${Math.floor(s / 60)} min ${s % 60} s` : `${sign}${s} s`;
}

function shown(value, unit) {
  switch (unit) {
    case 'dtdurations': return duration(value);
    case 'percentunit': return `${+(value * 100).toPrecision(3)} %`;
    case 's': return value < 1 ? `${+(value * 1000).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`;
    case 'bytes': return `${+(value / 1048576).toPrecision(3)} MiB`;
    case 'ops': return `${+value.toPrecision(3)}/s`;
    default: return `${+value.toPrecision(3)}`;
  }
}

// Without a browser nobody knows how wide a text is.
echarts.setPlatformAPI({measureText: (value, css) => ({width: value.length * 0.62 * parseFloat(css.match(/([\d.]+)px/)?.[1] ?? 12)})});

// A distance between lines of the grid that people count in; undefined leaves it to the chart.
const grids = {dtdurations: 60, bytes: 16 << 20, percentunit: 0.25};

const legend = (target, labels) => target.legendFormat.replace(/{{(\w+)}}/g, (_, label) => labels[label] ?? '').trim();
const fixed = (panel, name) => panel.fieldConfig.overrides.filter(o => o.matcher.options === name)
  .flatMap(o => o.properties).filter(p => p.id === 'color').map(p => named[p.value.fixedColor])[0];

async function timeseries(panel, width, height) {
  const {unit, min, max, custom} = panel.fieldConfig.defaults, series = [];
  for (const target of panel.targets) {
    for (const {metric, values} of await ask(target)) {
      const name = legend(target, metric), bars = custom.drawStyle === 'bars', points = new Map(values.map(([t, v]) => [t, +v]));
      const data = []; // of all series for the same times, or they would be stacked askew; a gap stays a gap
      for (let t = start; t <= end; t += step) data.push([t * 1000, Number.isFinite(points.get(t)) ? points.get(t) : bars ? 0 : null]);
      const colour = fixed(panel, name) ?? palette[series.length % palette.length];
      series.push({
        name, data, type: bars ? 'bar' : 'line', barCategoryGap: '0%', symbol: 'none', color: colour, lineStyle: {width: 1.5 * custom.lineWidth},
        step: custom.lineInterpolation === 'stepAfter' ? 'end' : false, stack: custom.stacking.mode === 'normal' ? 'all' : undefined,
        areaStyle: custom.fillOpacity && !bars ? {opacity: custom.fillOpacity / 100} : undefined,
      });
    }
  }
  const rows = Math.ceil(series.reduce((sum, {name}) => sum + name.length * 6 + 28, 0) / width); // of the legend
  const chart = echarts.init(null, null, {renderer: 'svg', ssr: true, width, height});
  chart.setOption({
    animation: false, textStyle: {fontFamily: font, color: text}, grid: {left: 8, right: 14, top: 10, bottom: 10 + 16 * rows, containLabel: true},
    legend: {bottom: 0, left: 0, icon: 'roundRect', itemWidth: 12, itemHeight: 4, itemGap: 8, textStyle: {color: text, fontSize: 9.5}},
    xAxis: {type: 'time', min: start * 1000, max: end * 1000, axisLabel: {color: faint, fontSize: 10, hideOverlap: true, formatter: '{HH}:{mm}'}, axisLine: {lineStyle: {color: border}}, splitLine: {show: false}},
    yAxis: {type: 'value', min, max: max ?? (grids[unit] && (value => Math.ceil(value.max / grids[unit]) * grids[unit])), interval: grids[unit], minInterval: panel.fieldConfig.defaults.decimals === 0 ? 1 : undefined, splitNumber: 4, axisLabel: {color: faint, fontSize: 10, formatter: v => shown(v, unit)}, splitLine: {lineStyle: {color: '#25282d'}}},
    series,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return series.length ? svg : words(width / 2, height / 2, 'No data', 14, faint, 'text-anchor="middle"');
}

async function stat(panel, width, height) {
  const [first] = await ask(panel.targets[0]), value = first ? +first.value[1] : NaN;
  const {unit, thresholds} = panel.fieldConfig.defaults;
  const colour = thresholds.steps.filter(s => s.value === null || value >= s.value).at(-1).color;
  return words(width / 2, height / 2 + 12, shown(value, unit), 34, named[colour], 'text-anchor="middle"');
}

async function bargauge(panel, width, height) {
  const values = await Promise.all(panel.targets.map(async t => +(await ask(t))[0].value[1])), most = Math.max(...values, 1);
  return values.map((value, i) => {
    const y = 8 + i * (height - 16) / values.length, thick = (height - 16) / values.length - 10;
    return words(8, y + thick / 2 + 5, panel.targets[i].legendFormat, 12, text)
      + `<rect x="70" y="${y}" width="${width - 130}" height="${thick}" fill="#22252b"/>`
      + `<rect x="70" y="${y}" width="${(width - 130) * value / most}" height="${thick}" fill="${named.blue}"/>`
      + words(width - 48, y + thick / 2 + 6, value, 16, named.blue);
  }).join('');
}

async function table(panel, width, height) {
  const rows = new Map();
  for (const target of panel.targets) {
    for (const {metric, value} of await ask(target)) {
      const key = `${metric.namespace}/${metric.name}/${metric.environment}`;
      rows.set(key, {...metric, ...rows.get(key), [target.refId]: +value[1]});
    }
  }
  const sorted = [...rows.values()].sort((a, b) => a.A - b.A).slice(0, Math.floor((height - 30) / 21));
  const at = [8, 90, 210, 310, 410, 530];
  const cells = row => [row.namespace, row.name, row.environment, duration(row.A), 'B' in row ? duration(row.B) : '', row.C ? 'yes' : 'no'];
  return ['Namespace', 'Name', 'Environment', 'Ends in', 'Renewal in', 'Ready'].map((h, i) => words(at[i], 16, h, 11, '#6e9fff')).join('')
    + sorted.map((row, r) => cells(row).map((cell, i) => words(at[i], 38 + r * 21, cell, 11, i < 5 ? text : row.C ? named.green : named.red)).join('')).join('');
}

const kinds = {timeseries, stat, bargauge, table};
let body = '', bottom = 0;
for (const panel of dashboard.panels) {
  const x = panel.gridPos.x * column + gap, y = panel.gridPos.y * line + gap, width = panel.gridPos.w * column - gap, height = panel.gridPos.h * line - gap;
  bottom = Math.max(bottom, y + height + gap);
  if (panel.type === 'row') {
    body += words(x, y + 20, panel.title, 15, text, 'font-weight="bold"');
    continue;
  }
  const inner = await kinds[panel.type](panel, width - 16, height - 40);
  body += `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="2" fill="${plate}" stroke="${border}"/>`
    + words(x + 10, y + 20, panel.title, 13, text) + `<g transform="translate(${x + 8} ${y + 32})">${inner}</g>`;
}
const wide = 24 * column + gap;
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${bottom}"><rect width="100%" height="100%" fill="${background}"/>${body}</svg>`;
writeFileSync(picture, new Resvg(svg, {font: {loadSystemFonts: true, defaultFontFamily: font}}).render().asPng());
