"use strict";
(() => {
  const charts = [...document.querySelectorAll(".chart")];
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");

  // the page's colours, so that figures follow light, dark and print
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: get("--line"), linecolor: get("--line"), tickcolor: get("--line") };
    return {
      "font.color": get("--ink"),
      ...Object.fromEntries(
        ["xaxis", "yaxis"].flatMap((a) => Object.entries(axis).map(([k, v]) => [`${a}.${k}`, v]))
      ),
      "modebar.color": get("--quiet"),
      "modebar.activecolor": get("--ink"),
      "hoverlabel.bgcolor": get("--card"),
      "hoverlabel.bordercolor": get("--line"),
      "hoverlabel.font.color": get("--ink"),
    };
  };
  const recolour = () => charts.forEach((chart) => Plotly.relayout(chart, colours()));

  const draw = async () => {
    for (const chart of charts) {
      const figure = JSON.parse(document.getElementById(chart.id.replace("chart-", "data-")).textContent);
      const narrow = chart.clientWidth < 560;
      if (narrow) {
        figure.layout.dragmode = false; // a finger scrolls the page
        figure.data.forEach((trace) => (trace.mode = (trace.mode || "").replace("+text", "") || undefined));
      }
      await Plotly.newPlot(chart, figure.data, figure.layout, {
        displaylogo: false,
        displayModeBar: narrow ? false : "hover",
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
        showSendToCloud: false, // no button that uploads the figure
      });
    }
    recolour();
    const sizes = new ResizeObserver((entries) => entries.forEach((e) => Plotly.Plots.resize(e.target)));
    charts.forEach((chart) => sizes.observe(chart));
  };
  draw();
  scheme.addEventListener("change", recolour);
  window.addEventListener("beforeprint", recolour);
  window.addEventListener("afterprint", recolour);
})();
