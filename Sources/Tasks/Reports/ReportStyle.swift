import AIPOImaging

/// The style sheet of a report.
enum ReportStyle {
  static let css =
    LineChart.darkTheme + """
      :root{color-scheme:light dark;--page:#f7f6f3;--good:#0f7a55;--warn:#b06a00}
      @media (prefers-color-scheme:dark){:root{--page:#131518;--good:#62d3a4;--warn:#e0a030}}
      *{box-sizing:border-box}
      html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
      body{margin:0;background:var(--page);color:var(--ink);\
      font:16px/1.55 ui-sans-serif,system-ui,"Segoe UI","Helvetica Neue",Arial,sans-serif}
      main{max-width:70rem;margin:0 auto;padding:3.5rem clamp(1rem,4vw,3rem) 4rem}
      h1{font-size:clamp(1.75rem,4.5vw,2.6rem);line-height:1.12;letter-spacing:-.022em;font-weight:680;margin:0;text-wrap:balance}
      h2{font-size:1.45rem;line-height:1.2;letter-spacing:-.012em;font-weight:650;margin:0}
      h3{font-size:.95rem;font-weight:600;margin:0 0 .9rem;overflow-wrap:anywhere}
      .lead{font-size:1.12rem;color:var(--muted);max-width:44rem;margin:.7rem 0 0;text-wrap:pretty}
      .caption{color:var(--muted);max-width:46rem;margin:.5rem 0 0;text-wrap:pretty}
      .scroll+.caption{margin-top:1.8rem}
      section{margin-top:4rem;padding-top:2rem;border-top:1px solid var(--line)}
      dl{display:flex;flex-wrap:wrap;gap:.7rem 1.9rem;margin:1.5rem 0 0}
      dt{font-size:.74rem;line-height:1.3;color:var(--muted);letter-spacing:.02em}
      dd{margin:.1rem 0 0;font-variant-numeric:tabular-nums;font-size:.94rem;line-height:1.35;overflow-wrap:anywhere}
      dl.settings,dl.facts{gap:.5rem 1.6rem}
      dl.methods{display:block;max-width:52rem;margin-top:1.1rem}
      dl.methods div{display:grid;grid-template-columns:7rem 1fr;gap:.6rem;margin-top:.3rem}
      dl.methods dt{font-size:.9rem;color:var(--ink);font-weight:600;line-height:1.4}
      dl.methods dd{margin:0;font-size:.9rem;line-height:1.4;color:var(--muted)}
      dl.settings dd,footer dd{font-size:.84rem}
      pre{margin:1.6rem 0 0;padding:.8rem 1rem;background:var(--surface);border:1px solid var(--line);\
      border-radius:8px;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;\
      white-space:pre-wrap;overflow-wrap:anywhere}
      code{font:inherit}
      nav{display:flex;flex-wrap:wrap;gap:.5rem;margin-top:1.6rem}
      nav a{padding:.25rem .8rem;border:1px solid var(--line);border-radius:99px;background:var(--surface);\
      color:var(--ink);text-decoration:none;font-size:.88rem}
      nav a:hover,nav a:focus-visible{border-color:var(--muted)}
      .scroll{overflow-x:auto}
      table{border-collapse:collapse;margin-top:1.8rem;font-variant-numeric:tabular-nums;font-size:.95rem}
      caption{text-align:left;color:var(--muted);font-size:.82rem;padding-bottom:.45rem}
      thead th{font-size:.78rem;font-weight:500;color:var(--muted);border-bottom:1px solid var(--muted);\
      white-space:nowrap}
      th,td{padding:.42rem 0 .42rem clamp(.9rem,1.9vw,1.7rem);text-align:right}
      td{white-space:nowrap}
      tr>:first-child{padding-left:0;text-align:left}
      tbody th{font-weight:500;white-space:nowrap}
      tbody td,tbody th{border-bottom:1px solid var(--line)}
      td.best{font-weight:680;color:var(--good)}
      .card{margin-top:2rem;padding:1.4rem;background:var(--surface);border:1px solid var(--line);\
      border-radius:12px}
      .figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(9.5rem,42%),1fr));\
      gap:1.1rem;max-width:56rem}
      figure{margin:0;min-width:0}
      img,.none{display:block;width:100%;height:auto;border-radius:4px;\
      box-shadow:0 0 0 1px var(--line)}
      img.small{image-rendering:pixelated}
      [role=button]{cursor:zoom-in}
      [role=button]:focus-visible,button:focus-visible,summary:focus-visible,a:focus-visible{\
      outline:2px solid var(--s0);outline-offset:2px}
      button{font:inherit;font-size:.76rem;line-height:1.2;padding:.25rem .6rem;border:1px solid var(--line);\
      border-radius:6px;background:var(--surface);color:var(--ink);cursor:pointer}
      button:hover{border-color:var(--muted)}
      .zoom{border:1px solid var(--line);border-radius:12px;background:var(--surface);color:var(--ink);\
      padding:1rem;max-width:97vw;max-height:97vh}
      .zoom::backdrop{background:rgb(0 0 0/.6)}
      .zoom .stage{display:grid;place-items:center}
      .zoom img,.zoom svg{display:block;height:auto;max-width:100%}
      .zoom p{margin:.7rem 0;font-size:.86rem;color:var(--muted);max-width:60rem}
      .zoom .bar{display:flex;gap:.5rem;justify-content:flex-end}
      .zoom .bar button{font-size:.9rem;padding:.4rem .8rem}
      .tools{display:flex;gap:.35rem;margin-top:.35rem}
      .warnings{margin-top:1.6rem;padding:.9rem 1.1rem;border:1px solid var(--warn);border-left-width:5px;\
      border-radius:8px;background:var(--surface);max-width:52rem}
      .warnings ul{margin:.35rem 0 0;padding-left:1.2rem}
      .swatch{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-right:.45rem;\
      background:var(--c)}
      small{font-size:.82em;color:var(--muted);font-weight:400}
      .none{aspect-ratio:1;display:grid;place-content:center;text-align:center;padding:.4rem;\
      font-size:.8rem;line-height:1.3;color:var(--muted);background:var(--page)}
      figcaption{display:flex;flex-wrap:wrap;align-items:baseline;justify-content:space-between;gap:0 .6rem;\
      margin-top:.45rem;font-size:.84rem;line-height:1.35;font-variant-numeric:tabular-nums}
      figcaption b{font-weight:600}
      figcaption span{color:var(--muted)}
      .bar{display:inline-flex;align-items:center;gap:.35rem;font-size:.76rem;color:var(--muted);white-space:nowrap}
      .bar i{width:3.2rem;height:.5rem;border-radius:2px;background:\(ColorMap.gradient)}
      .bar i.missing{width:.7rem;height:.7rem;background:#3a5488}
      .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(13rem,100%),1fr));gap:1.1rem 1.3rem;\
      margin-top:1.2rem}
      .charts .ground{fill:none}
      .plot figcaption{display:block;color:var(--muted);font-size:.8rem;margin-top:.3rem;max-width:24rem}
      .charts svg{display:block;width:100%;height:auto;max-width:26rem}
      details{margin-top:1.4rem}
      summary{cursor:pointer;font-size:.92rem;color:var(--muted)}
      .legend,.keys{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;margin:1.6rem 0 0;font-size:.82rem;color:var(--muted)}
      .legend{margin-top:1rem;color:var(--ink)}
      .legend span{display:inline-flex;align-items:center;gap:.45rem}
      .legend .key{width:.85rem;height:.85rem;overflow:visible}
      .chart .neutral{--c:var(--muted)}
      .keys .bar{font-size:inherit}
      .grid{margin-top:1rem;--ratio:1fr}
      .pairs{--ratio:2fr}
      .row{display:grid;grid-template-columns:2.6rem repeat(var(--single),minmax(0,1fr)) \
      repeat(var(--double),minmax(0,var(--ratio)));gap:.7rem;margin-top:.7rem;align-items:start}
      .row.head{margin:0;font-size:.9rem}
      .row.head b{font-weight:600}
      .pair{display:flex;gap:2px}
      .pair>*{flex:1;min-width:0}
      .source{font-size:.8rem;line-height:1.35;color:var(--muted);overflow-wrap:anywhere;align-self:center;\
      padding-bottom:1.4rem}
      .row figcaption{font-size:.82rem;justify-content:flex-start;min-height:1.1rem;margin-top:.3rem}
      .best figcaption span{color:var(--good);font-weight:680}
      figcaption .minor,.best figcaption .minor{color:var(--muted);font-weight:400;font-size:.94em}
      .bars{min-width:7rem;text-align:left;width:100%}
      .bars i{display:block;height:.6rem;min-width:2px;border-radius:2px;background:var(--c,var(--muted))}
      table:has(.bars){width:100%}
      .dense{font-size:.82rem}
      .dense th,.dense td{padding:.22rem 0 .22rem 1.3rem;border-bottom:0}
      .dense tr>:first-child{padding-left:0}
      .dense th:nth-child(2),.dense .words{text-align:left}
      .dense .first>*{border-top:1px solid var(--line)}
      .panel{margin-top:2.6rem}
      .panel h3{font-size:1.12rem;margin:0}
      .study{font-size:.8rem;margin-top:1.1rem}
      .study th,.study td{padding:.26rem 0 .26rem .85rem;white-space:nowrap}
      .study tbody th{white-space:normal;min-width:9rem}
      main:has(.study){max-width:80rem}
      .study tr>:first-child{padding-left:0}
      .charts.wide{grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr))}
      .charts.wide svg{max-width:36rem}
      .strips{margin-top:1.2rem}
      .strip{display:grid;grid-template-columns:11rem repeat(var(--columns),minmax(0,5rem));gap:.3rem;\
      align-items:center;margin-top:.3rem}
      .strip b{font-size:.8rem;font-weight:500;line-height:1.25;color:var(--muted);overflow-wrap:anywhere}
      footer{margin-top:4rem;padding-top:1.2rem;border-top:1px solid var(--line);color:var(--muted);\
      font-size:.82rem;max-width:none}
      footer p{max-width:52rem;margin:1.4rem 0 0}
      footer pre{margin-top:0;color:var(--ink)}
      @media (max-width:44rem){
      main{padding-top:2rem}
      section{margin-top:2.6rem;padding-top:1.5rem}
      .card{padding:1rem;border-radius:10px}
      table{font-size:.88rem}
      th,td{padding-left:.9rem}
      .row{grid-template-columns:repeat(var(--columns),minmax(0,1fr));gap:.4rem}
      .pair{flex-direction:column}
      .row.head span{display:none}
      .row.head,.row figcaption{font-size:.76rem}
      .source{grid-column:1/-1;padding:0}
      .bars{display:none}
      .strip{grid-template-columns:5rem repeat(var(--columns),minmax(0,1fr))}
      }
      @media print{
      :root{--surface:#fff;--page:#fff;--ink:#111;--muted:#555;--line:#d5d2cb;--good:#0f6a4a;\
      \(MethodColours.variables(\.light));color-scheme:light}
      @page{margin:14mm}
      body{font-size:10.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
      main{padding:0;max-width:none}
      nav,.tools,.zoom{display:none}
      section{margin-top:1.6rem;padding-top:1rem}
      .card{padding:.8rem;margin-top:1rem}
      .card,.row,table,dl,.charts{break-inside:avoid}
      h2,.caption,dl.settings,.row.head{break-after:avoid}
      section+section{break-before:page;border:0}
      .charts{grid-template-columns:1fr 1fr}
      .row{gap:.45rem;margin-top:.45rem}
      details:not([open]){display:none}
      .scroll{overflow:visible}
      }

      """
    + MethodColours.table.indices.map { ".c\($0){--c:var(--s\($0))}\n" }.joined()
}
