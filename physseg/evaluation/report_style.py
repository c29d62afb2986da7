"""The style sheet of the report: light, system fonts, nothing to load."""

STYLE = """
:root { --ink:#1d2329; --soft:#5d6873; --line:#e3e6ea; --tint:#f5f7f9; --accent:#0b6e99; }
* { box-sizing:border-box; }
body { margin:0 auto; max-width:1180px; padding:32px 24px 80px; color:var(--ink); background:#fff;
  font:15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size:26px; margin:0 0 4px; } h2 { font-size:20px; margin:44px 0 12px; padding-top:12px;
  border-top:1px solid var(--line); } h3 { font-size:16px; margin:24px 0 8px; }
p, .soft { color:var(--soft); } p { margin:4px 0 12px; max-width:80ch; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; font-size:14px; font-variant-numeric:tabular-nums; }
th, td { padding:6px 12px; text-align:right; border-bottom:1px solid var(--line); white-space:nowrap; }
th:first-child, td:first-child { text-align:left; } th { color:var(--soft); font-weight:600; }
tr.ours td { background:#eaf4f8; font-weight:600; } td.source { text-align:left; color:var(--soft); font-size:12px;
  white-space:normal; min-width:260px; }
.chart { width:100%; max-width:640px; display:block; } .chart text { font-size:12px; fill:var(--soft); }
.key, .legend { display:flex; flex-wrap:wrap; gap:4px 14px; font-size:13px; margin:6px 0 0; }
.chip { display:inline-flex; align-items:center; gap:6px; } .chip i { width:12px; height:12px; border-radius:3px;
  border:1px solid rgba(0,0,0,.25); }
.columns { display:grid; grid-template-columns:repeat(auto-fit, minmax(340px, 1fr)); gap:8px 36px; }
.charts { display:grid; grid-template-columns:repeat(auto-fit, minmax(460px, 1fr)); gap:8px 36px; }
.bar { display:grid; grid-template-columns:150px 1fr 44px; gap:8px; align-items:center; font-size:13px; }
.bar span:first-child { overflow:hidden; text-overflow:ellipsis; white-space:nowrap; }
.bar span:last-child { text-align:right; font-variant-numeric:tabular-nums; }
.track { background:var(--tint); border-radius:3px; height:12px; } .track i { display:block; height:12px;
  border-radius:3px; background:var(--accent); }
.track i.unseen { background:#d1495b; }
figure { margin:0 0 26px; } .panels { display:grid; grid-auto-flow:column; grid-auto-columns:minmax(0, 1fr); gap:8px; }
.panels img { width:100%; display:block; border-radius:4px; border:1px solid var(--line); image-rendering:pixelated; }
.panels div span { display:block; font-size:12px; color:var(--soft); margin-top:3px; }
figcaption { font-size:13px; color:var(--soft); margin-bottom:5px; }
details { margin:10px 0; } summary { cursor:pointer; color:var(--accent); }
pre { background:var(--tint); padding:14px; border-radius:6px; overflow-x:auto; font-size:12px; max-height:480px; }
"""
