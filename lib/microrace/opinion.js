'use strict';
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId('entries'), entries = [...list.children];
  const collator = new Intl.Collator(document.documentElement.lang, { numeric: true, sensitivity: 'base' });
  const compare = {
    file: (a, b) => collator.compare(a.dataset.file, b.dataset.file),
    answer: (a, b) => collator.compare(a.dataset.answer, b.dataset.answer) || b.dataset.probability - a.dataset.probability,
  };
  for (const key of ['number', 'probability', 'unlike', 'scale']) compare[key] = (a, b) => a.dataset[key] - b.dataset[key];

  const arrange = () => {
    const order = byId('order').value, key = order.replace(/^-/, ''), sign = order === key ? 1 : -1;
    entries.sort((a, b) => sign * compare[key](a, b) || a.dataset.number - b.dataset.number);
    list.append(...entries);
  };
  const filter = () => {
    const text = byId('search').value.trim().toLowerCase(), answer = byId('answer').value, flag = byId('flag').value;
    for (const entry of entries) {
      const { file, answer: its, flag: raised } = entry.dataset;
      entry.hidden = !(file.toLowerCase().includes(text) && (!answer || its === answer) && (!flag || raised === flag));
    }
    const n = entries.filter((entry) => !entry.hidden).length;
    byId('nothing').hidden = n > 0;
    byId('count').textContent = `${n} ${byId('count').dataset.words}`;
  };
  byId('order').addEventListener('change', arrange);
  for (const id of ['search', 'answer', 'flag']) byId(id).addEventListener('input', filter);
  byId('controls').addEventListener('submit', (event) => event.preventDefault());
  byId('print').addEventListener('click', () => print());
  byId('controls').hidden = false;
  // A browser may have kept what was chosen before the page was loaded again.
  arrange();
  filter();
})();
