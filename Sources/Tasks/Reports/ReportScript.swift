import AIPOImaging
import AIPOKernels

/// What a report's page does with a script: it enlarges pictures and charts, and saves them. Without it the page says
/// the same.
enum ReportScript {
  /// For the page's policy: SHA-256 of the source in base 64.
  static let digest = Markup.base64(SHA256.digest(Array(source.utf8)))

  /// Holds no “less than”, so that it needs no escaping anywhere.
  static let source = """
    (() => {
      "use strict";
      const make = (name, className, text) => {
        const element = document.createElement(name);
        if (className) element.className = className;
        if (text) element.textContent = text;
        return element;
      };
      const button = (text, label, action) => {
        const element = make("button", "", text);
        element.type = "button";
        element.title = label;
        element.setAttribute("aria-label", label);
        element.addEventListener("click", action);
        return element;
      };
      const isChart = (picture) => picture.tagName.toLowerCase() === "svg";
      const nameOf = (picture) =>
        isChart(picture) ? picture.getAttribute("aria-label") : picture.alt;
      const save = (address, name, suffix) => {
        const link = make("a");
        link.href = address;
        link.download = name.replace(/[^\\p{L}\\p{N}.-]+/gu, "-").replace(/^-+|-+$/g, "") + suffix;
        link.click();
      };
      // A chart as a file of its own, in the light theme.
      const drawing = (chart) => {
        const copy = chart.cloneNode(true);
        for (const name of ["tabindex", "role"]) copy.removeAttribute(name);
        const [x, y, width, height] = chart.getAttribute("viewBox").split(" ").map(Number);
        copy.setAttribute("width", width);
        copy.setAttribute("height", height);
        const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
        style.textContent = document.getElementById("chart").textContent;
        copy.prepend(style);
        const text = new XMLSerializer().serializeToString(copy);
        return { address: "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text), width, height };
      };
      const saveSVG = (chart) => save(drawing(chart).address, nameOf(chart), ".svg");
      const savePNG = (picture) => {
        if (!isChart(picture)) return save(picture.src, nameOf(picture), ".png");
        const { address, width, height } = drawing(picture);
        const image = new Image();
        image.addEventListener("load", () => {
          const canvas = make("canvas");
          const scale = 3;
          canvas.width = scale * width;
          canvas.height = scale * height;
          canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
          save(canvas.toDataURL("image/png"), nameOf(picture), ".png");
        });
        image.src = address;
      };

      const pictures = [...document.querySelectorAll("main img, main .plot > svg")];
      const dialog = make("dialog", "zoom");
      const stage = make("div", "stage");
      const words = make("p");
      const bar = make("div", "bar");
      let shown = 0;
      const show = (index) => {
        shown = (index + pictures.length) % pictures.length;
        const picture = pictures[shown];
        const copy = picture.cloneNode(true);
        for (const name of ["tabindex", "role"]) copy.removeAttribute(name);
        const width = 0.92 * innerWidth, height = innerHeight - 150;
        if (isChart(picture)) {
          const box = picture.viewBox.baseVal;
          copy.style.width = Math.min(width, height * box.width / box.height) + "px";
        } else {
          // Whole multiples keep the pixels square.
          const most = Math.min(width / picture.naturalWidth, height / picture.naturalHeight);
          copy.style.width = picture.naturalWidth * (most > 1 ? Math.floor(most) : most) + "px";
        }
        stage.replaceChildren(copy);
        const caption = picture.closest("figure")?.querySelector("figcaption")?.cloneNode(true);
        caption?.querySelectorAll("button").forEach((element) => element.remove());
        const text = [...(caption?.childNodes ?? [])].map((node) => node.textContent.trim()).filter(Boolean);
        words.textContent = [isChart(picture) ? "" : nameOf(picture), ...text].filter(Boolean).join(" · ");
        svg.hidden = !isChart(picture);
      };
      const svg = button("SVG", "Save as SVG", () => saveSVG(pictures[shown]));
      bar.append(
        button("‹", "Previous figure", () => show(shown - 1)),
        button("›", "Next figure", () => show(shown + 1)), svg,
        button("PNG", "Save as PNG", () => savePNG(pictures[shown])),
        button("Close", "Close (Escape)", () => dialog.close()));
      dialog.append(stage, words, bar);
      document.body.append(dialog);
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
      dialog.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step) { event.preventDefault(); show(shown + step); }
      });
      const open = (index) => { show(index); dialog.showModal(); };
      pictures.forEach((picture, index) => {
        picture.setAttribute("tabindex", "0");
        picture.setAttribute("role", "button");
        picture.addEventListener("click", () => open(index));
        picture.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          open(index);
        });
      });
      for (const chart of document.querySelectorAll(".plot > svg")) {
        const tools = make("span", "tools");
        tools.append(
          button("SVG", "Save as SVG", () => saveSVG(chart)),
          button("PNG", "Save as PNG", () => savePNG(chart)));
        chart.closest("figure").append(tools);
      }
    })();
    """
}
