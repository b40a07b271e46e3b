'use strict';

// -- light and dark -----------------------------------------------------------------
// Follows the system until the switch is used, and remembers what it was set to. Runs
// before the page is shown, so that nothing flashes.

const THEME = 'cosam-report-theme';
const root = document.documentElement;
const systemIsDark = matchMedia('(prefers-color-scheme: dark)');

let store = {};
try { store = localStorage ?? {}; } catch { /* some browsers keep nothing for files */ }
if (['light', 'dark'].includes(store[THEME])) root.dataset.theme = store[THEME];

function isDark() {
  return (root.dataset.theme || (systemIsDark.matches ? 'dark' : 'light')) === 'dark';
}

function setUpTheme() {
  const button = document.getElementById('page-theme');
  const show = () => { button.ariaPressed = String(isDark()); };
  button.hidden = false;
  button.addEventListener('click', () => {
    root.dataset.theme = store[THEME] = isDark() ? 'light' : 'dark';
    show();
  });
  systemIsDark.addEventListener('change', show);
  show();
}

// -- tables -------------------------------------------------------------------------

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

// Numbers, then words; what is no number, and nothing, stay last whichever way.
function cellKey(cell) {
  const value = cell.dataset.v;
  if (value === undefined) return { rank: 1, value: cell.textContent };
  return { rank: { NaN: 2, '': 3 }[value] ?? 0, value: Number(value) };
}

function compareKeys(a, b, direction) {
  const order = a.rank - b.rank;
  if (a.rank > 1 || b.rank > 1) return order;
  if (order) return direction * order;
  if (a.rank === 1) return direction * collator.compare(a.value, b.value);
  return direction * Math.sign(a.value - b.value);
}

function setUpTable(block) {
  const body = block.querySelector('tbody');
  const heads = [...block.querySelectorAll('th')];
  const rows = [...body.rows];
  const input = block.querySelector('input');
  const count = block.querySelector('.count');
  const next = { none: 'ascending', ascending: 'descending', descending: 'none' };

  heads.forEach((head, column) => {
    head.querySelector('button').addEventListener('click', () => {
      const order = next[head.ariaSort];
      const direction = { none: 0, ascending: 1, descending: -1 }[order];
      heads.forEach((other) => { other.ariaSort = 'none'; });
      head.ariaSort = order;
      const keyed = rows.map((row) => ({ row, key: cellKey(row.cells[column]) }));
      keyed.sort((a, b) => direction && compareKeys(a.key, b.key, direction));
      body.replaceChildren(...keyed.map((one) => one.row));
    });
  });

  if (!input) return;
  let texts = null;
  input.addEventListener('input', () => {
    // A space that no word can span stands between cells.
    texts ??= rows.map((row) => [...row.cells]
      .map((cell) => cell.textContent.toLowerCase()).join('\n'));
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, at) => {
      row.hidden = !words.every((word) => texts[at].includes(word));
      shown += !row.hidden;
    });
    const all = `${rows.length} ${rows.length === 1 ? 'row' : 'rows'}`;
    count.textContent = words.length ? `${shown} of ${all}` : all;
  });
}

// -- plots --------------------------------------------------------------------------
// The image itself moves into the dialog and back: a copy would take its room twice.

function setUpPlots() {
  const dialog = document.getElementById('page-dialog');
  const stage = dialog.querySelector('.stage');
  const zoom = dialog.querySelector('.zoom');
  let origin = null;

  function setFull(isFull) {
    zoom.ariaPressed = String(isFull);
    stage.classList.toggle('full', isFull);
  }

  function open(button) {
    origin = button;
    // The page must not jump while the image is away.
    button.style.height = `${button.getBoundingClientRect().height}px`;
    document.getElementById('page-dialog-title').textContent = button.ariaLabel
      .replace(/^Enlarge: /, '');
    setFull(false);
    stage.append(button.firstElementChild);
    dialog.showModal();
    stage.focus();
  }

  dialog.addEventListener('close', () => {
    if (!origin) return;
    origin.append(stage.firstElementChild);
    origin.style.height = '';
    origin.focus({ preventScroll: true });
    origin = null;
  });
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog || target.matches('.close')) dialog.close();
  });
  const toggle = () => setFull(!stage.classList.contains('full'));
  zoom.addEventListener('click', toggle);
  stage.addEventListener('dblclick', toggle);
  document.querySelectorAll('.enlarge').forEach((button) => {
    button.addEventListener('click', () => open(button));
  });
}

// -- clips --------------------------------------------------------------------------
// They play while they are in sight, unless the reader wants no motion or stopped them.

function setUpClips() {
  const wantsStill = matchMedia('(prefers-reduced-motion: reduce)');
  const stopped = new WeakSet();
  const ours = new WeakSet();
  const watch = new IntersectionObserver((entries) => {
    entries.forEach(({ target, isIntersecting }) => {
      if (!isIntersecting && !target.paused) {
        ours.add(target);
        target.pause();
      } else if (isIntersecting && !wantsStill.matches && !stopped.has(target)) {
        target.play().catch(() => { /* its controls are there */ });
      }
    });
  }, { threshold: 0.5 });
  document.querySelectorAll('video').forEach((video) => {
    video.addEventListener('pause', () => {
      if (!ours.delete(video)) stopped.add(video);
    });
    video.addEventListener('play', () => stopped.delete(video));
    watch.observe(video);
  });
}

// -- the rest -----------------------------------------------------------------------

function setUpNavigation() {
  const links = [...document.querySelectorAll('nav a')];
  const inSight = new Set();
  const watch = new IntersectionObserver((entries) => {
    entries.forEach(({ target, isIntersecting }) => {
      inSight[isIntersecting ? 'add' : 'delete'](`#${target.id}`);
    });
    const here = links.find((link) => inSight.has(link.hash));
    if (here) links.forEach((link) => { link.ariaCurrent = link === here || null; });
  }, { rootMargin: '-15% 0px -60% 0px' });
  document.querySelectorAll('main > section').forEach((part) => watch.observe(part));
}

function setUpCopying() {
  document.querySelectorAll('.copy').forEach((button) => {
    const code = button.closest('.code').querySelector('code');
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = 'Copied';
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = 'Selected';
      }
      setTimeout(() => { button.textContent = 'Copy'; }, 2000);
    });
  });
}

document.addEventListener('DOMContentLoaded', () => {
  setUpTheme();
  document.querySelectorAll('.table').forEach(setUpTable);
  setUpPlots();
  setUpClips();
  setUpNavigation();
  setUpCopying();
});
