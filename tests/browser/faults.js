// What can be checked by hand of the accessibility guidelines on the screen that is shown: names, labels, contrast, size of
// targets, regions that scroll without the keyboard. Run in the page; returns the faults found.
const shown = (e) => e.checkVisibility({ visibilityProperty: true });
const faults = [];
const name = (e) => (e.getAttribute('aria-label') || [...(e.labels || [])].map((l) => l.textContent).join(' ')
  || (e.getAttribute('aria-labelledby') || '').split(' ').map((i) => document.getElementById(i)?.textContent || '').join('')
  || e.textContent).trim();
for (const e of document.querySelectorAll('button, input, textarea, summary, progress, output, [role=group], dialog[open]'))
  if (shown(e) && !name(e)) faults.push('no name: ' + e.outerHTML.slice(0, 80));
for (const e of document.querySelectorAll('img')) if (shown(e) && !e.alt) faults.push('no alt');
if ([...document.querySelectorAll('h1')].filter(shown).length !== 1) faults.push('not one h1');
if (!document.documentElement.lang || !document.title) faults.push('no language or title');
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
if (new Set(ids).size !== ids.length) faults.push('ids twice');
for (const e of document.querySelectorAll('[aria-describedby], [aria-labelledby]'))
  for (const i of (e.getAttribute('aria-describedby') || e.getAttribute('aria-labelledby')).split(' '))
    if (!document.getElementById(i)) faults.push('no ' + i);
const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
const luminance = (c) => c.slice(0, 3).map((v) => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
const ground = (e) => e ? over(parse(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255, 1];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || ['SCRIPT', 'NOSCRIPT', 'STYLE'].includes(e.tagName) || !shown(e)) continue;
  const under = ground(e), a = luminance(over(parse(getComputedStyle(e).color), under)), b = luminance(under);
  const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (contrast < 4.5) faults.push('contrast ' + contrast.toFixed(2) + ': ' + walk.currentNode.textContent.slice(0, 40));
}
for (const e of document.querySelectorAll('button, summary, input, textarea')) {
  const box = (e.closest('label') || e).getBoundingClientRect();
  if (shown(e) && (box.width < 24 || box.height < 24)) faults.push('small target: ' + e.outerHTML.slice(0, 80));
}
for (const e of document.querySelectorAll('*')) {
  const scrolls = /auto|scroll/.test(getComputedStyle(e).overflowX + getComputedStyle(e).overflowY)
    && (e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight);
  if (scrolls && shown(e) && e.tabIndex < 0 && !e.querySelector('button, a[href], input, [tabindex="0"]')) faults.push('scrolls: ' + e.outerHTML.slice(0, 80));
}
const wide = document.documentElement.scrollWidth - window.innerWidth;
if (wide > 0) faults.push('wider than the window by ' + wide);
const box = document.querySelector('dialog[open]');
if (box && box.scrollWidth > box.clientWidth) faults.push('dialog scrolls sideways');
return faults;
