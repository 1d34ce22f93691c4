'use strict';
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId('entries'), entries = [...list.children];
  const training = JSON.parse(byId('training').textContent);

  // Training micrographs stand in the page once, and are shown where an entry comes into view.
  const show = (entry) => {
    for (const image of entry.querySelectorAll('img[data-training]:not([src])')) image.src = training[image.dataset.training];
  };
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) { show(target); near.unobserve(target); }
    }
  }, { rootMargin: '800px' });
  for (const entry of entries) near.observe(entry);
  addEventListener('beforeprint', () => entries.filter((e) => !e.hidden).forEach(show));

  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
  const compare = {
    file: (a, b) => collator.compare(a.dataset.file, b.dataset.file),
    answer: (a, b) => collator.compare(a.dataset.answer, b.dataset.answer) || b.dataset.probability - a.dataset.probability,
  };
  for (const key of ['number', 'probability', 'distance', 'scale']) compare[key] = (a, b) => a.dataset[key] - b.dataset[key];

  const arrange = () => {
    const order = byId('order').value, key = order.replace(/^-/, ''), sign = order === key ? 1 : -1;
    entries.sort((a, b) => sign * compare[key](a, b) || a.dataset.number - b.dataset.number);
    list.append(...entries);
  };
  const filter = () => {
    const text = byId('search').value.trim().toLowerCase(), answer = byId('answer').value, flag = byId('flag').value;
    let n = 0;
    for (const entry of entries) {
      const { file, answer: its, flag: raised } = entry.dataset;
      entry.hidden = !(file.toLowerCase().includes(text) && (!answer || its === answer) && (!flag || raised === flag));
      n += !entry.hidden;
    }
    byId('nothing').hidden = n > 0;
    byId('count').textContent = `${n} of ${entries.length} images`;
  };
  byId('order').addEventListener('change', arrange);
  byId('search').addEventListener('input', filter);
  for (const id of ['answer', 'flag']) byId(id).addEventListener('change', filter);
  byId('controls').addEventListener('submit', (event) => event.preventDefault());
  byId('print').addEventListener('click', () => print());
  byId('controls').hidden = false;
  // A browser may have kept what was chosen before the page was loaded again.
  arrange();
  filter();
})();
