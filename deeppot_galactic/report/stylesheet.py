"""The look of the page: one column on a telephone, two or three on a desk; system fonts, nothing from the network."""

CSS = """
:root { --ink: #1b2733; --soft: #5a6875; --line: #dde3e8; --paper: #f5f7f9; --card: #ffffff; --accent: #0072b2;
  --warn: #b34700; --warn-paper: #fff4ea; --good: #00714f; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", Helvetica, Arial, sans-serif; }
header { background: #0d1b2a; color: #eef3f7; padding: 2.2rem 1.25rem 2rem; }
header p { margin: .4rem 0 0; color: #b9c7d4; max-width: 62rem; }
header .lead { color: #eef3f7; font-size: 1.12rem; }
header strong { color: #ffffff; }
.wrap { max-width: 76rem; margin: 0 auto; }
main { padding: 0 1.25rem 3rem; }
h1 { margin: 0; font-size: clamp(1.5rem, 3.5vw, 2.2rem); line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 2.8rem 0 .35rem; font-size: 1.45rem; line-height: 1.25; letter-spacing: -.005em; scroll-margin-top: 3.5rem; }
h2 + p { margin-top: 0; max-width: 50rem; color: var(--soft); }
h3 { margin: 0; font-size: 1rem; line-height: 1.35; }
nav { padding: 0 1.25rem; position: sticky; top: 0; z-index: 2;
  background: rgba(255, 255, 255, .96); border-bottom: 1px solid var(--line); }
nav .wrap { display: flex; gap: 1.1rem; overflow-x: auto; padding: .6rem 0; font-size: .92rem; white-space: nowrap; scrollbar-width: none; }
nav a { color: var(--ink); text-decoration: none; }
nav a:hover { color: var(--accent); text-decoration: underline; }
.cards { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .9rem; margin-top: 1.5rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1.05rem; }
.card .name { color: var(--soft); font-size: .86rem; }
.card .value { font-size: 1.55rem; font-weight: 650; line-height: 1.3; letter-spacing: -.01em; }
.card .unit { white-space: nowrap; font-size: .95rem; font-weight: 400; color: var(--soft); }
.card .remark { font-size: .88rem; color: var(--soft); }
.flags { display: grid; gap: .7rem; margin: 1rem 0 0; padding: 0; list-style: none; }
.flags li { background: var(--card);
  border: 1px solid var(--line); border-left: 5px solid #9aa8b4; border-radius: 8px; padding: .65rem .95rem; }
.flags li.warning { border-left-color: #d55e00; background: var(--warn-paper); }
.flags li.good { border-left-color: #009e73; }
.flags b { display: block; }
.flags .warning b { color: var(--warn); }
.flags .good b { color: var(--good); }
.flags span { font-size: .95rem; }
.figures { display: grid; gap: 1.1rem; margin-top: 1.1rem; grid-template-columns: repeat(2, minmax(0, 1fr)); align-items: start; }
.figures.three { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.figures.one { grid-template-columns: minmax(0, 1fr); }
.figures.one figure { display: grid; grid-template-columns: minmax(0, 34rem) minmax(0, 1fr); gap: 1.2rem; align-items: center; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .8rem .8rem 1rem; height: 100%; }
figure img { display: block; width: 100%; max-width: 34rem; height: auto; margin: 0 auto .5rem; }
figcaption { padding: 0 .3rem; font-size: .92rem; color: var(--soft); }
figcaption h3 { color: var(--ink); margin-bottom: .15rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; background: var(--card); }
th, td { text-align: left; padding: .38rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tables { display: grid; gap: 1.1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); margin-top: 1rem; align-items: start; }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1rem; min-width: 0; }
.box h3 { margin-bottom: .45rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .9em; }
dl { margin: 1rem 0 0; display: grid; gap: .2rem 1.2rem; grid-template-columns: 12rem 1fr; font-size: .95rem; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; color: var(--soft); }
footer { color: var(--soft); font-size: .88rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
@media (max-width: 62rem) {
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .figures.three { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 42rem) {
  main { padding: 0 .8rem 2rem; } header { padding: 1.5rem .95rem; } nav { padding: 0 .95rem; }
  .figures, .figures.three, .figures.one figure { grid-template-columns: minmax(0, 1fr); }
  figure { padding: .45rem .35rem .8rem; } figcaption { padding: 0 .5rem; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .6rem; }
  .card { padding: .7rem .75rem; } .card .value { font-size: 1.25rem; }
  dl { grid-template-columns: 1fr; } h2 { margin-top: 2.2rem; }
}
@media print { nav { display: none; } figure, .box, .card { break-inside: avoid; } body { background: white; } }
"""
