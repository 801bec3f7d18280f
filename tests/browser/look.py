"""Opens a report in a real browser and checks what a reader would notice.

    look.py CHROMIUM PAGE [SCREENSHOTS]

At 360 and 1200 pixels, light and dark: nothing is fetched, nothing is logged, nothing from the data runs as a script, nothing is
cut off or lies upon something else, text has contrast, and everything can be reached with the keyboard. With SCREENSHOTS, a
folder, pictures are left there to look at.
"""

import base64
import sys
from pathlib import Path

from browser import Browser

# Of text, and of lines and marks, against what they lie on (WCAG 2.2: 1.4.3, 1.4.11).
TEXT_CONTRAST, LINE_CONTRAST = 4.5, 3.0
# Pixels of the text in a plot on a phone.
SMALLEST_TEXT = 9.5

CONTRAST = """
(() => {
  const probe = document.body.appendChild(document.createElement('span'));
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const of = (name) => { probe.style.color = `var(--${name})`; return luminance(getComputedStyle(probe).color); };
  const ratio = (a, b) => (Math.max(of(a), of(b)) + 0.05) / (Math.min(of(a), of(b)) + 0.05);
  const found = {};
  for (const name of ['text', 'quiet', 'link']) found[name] = ratio(name, 'page');
  for (const name of ['text', 'quiet']) found[name + ' on shade'] = ratio(name, 'shade');
  for (const n of [1, 2, 3, 4, 5, 6]) found['line-' + n] = ratio('line-' + n, 'page');
  found.axis = ratio('axis', 'page');
  probe.remove();
  return found;
})()
"""

# Texts of a plot that leave it, lie upon each other, or are too small.
PLOTS = """
[...document.querySelectorAll('figure > svg')].flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].map((text) => ({ what: text.textContent.trim(), box: text.getBoundingClientRect(),
    size: parseFloat(text.getAttribute('font-size')) * frame.width / svg.viewBox.baseVal.width }));
  const problems = [];
  texts.forEach(({ what, box, size }, index) => {
    if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5)
      problems.push(`“${what}” leaves its plot`);
    if (size < SMALLEST) problems.push(`“${what}” is ${size.toFixed(1)} pixels`);
    for (const other of texts.slice(index + 1)) {
      const b = other.box;
      if (box.left < b.right - 1 && b.left < box.right - 1 && box.top < b.bottom - 2 && b.top < box.bottom - 2)
        problems.push(`“${what}” lies upon “${other.what}”`);
    }
  });
  return problems.map((problem) => `${svg.querySelector('title').textContent}: ${problem}`);
})
"""

# Elements wider than the page, but for what scrolls by itself.
OVERFLOW = """
[...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, svg') && e.getBoundingClientRect().right > innerWidth + 1
  && !e.classList.contains('skip')).map((e) => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`)
"""

STRUCTURE = """
(() => {
  const problems = [];
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].map((heading) => Number(heading.tagName[1]));
  levels.forEach((level, i) => { if (i && level > levels[i - 1] + 1) problems.push(`a heading of level ${level} follows one of ${levels[i - 1]}`); });
  if (levels.filter((level) => level === 1).length !== 1) problems.push('there is not one h1');
  for (const svg of document.querySelectorAll('figure > svg')) {
    const named = svg.getAttribute('aria-labelledby').split(' ').map((id) => document.getElementById(id)?.textContent.trim());
    if (svg.getAttribute('role') !== 'img' || named.length !== 2 || !named.every(Boolean)) problems.push('a plot has no text');
    if (svg.closest('figure').querySelectorAll('details tbody tr').length === 0) problems.push(`the plot ${named[0]} has no numbers`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  if (new Set(ids).size !== ids.length) problems.push('an id occurs twice');
  for (const link of document.querySelectorAll('a')) if (!document.querySelector(link.getAttribute('href'))) problems.push(`${link.href} leads nowhere`);
  const bad = document.querySelectorAll('script, img, iframe, object, link:not([href^="data:"]), [onerror], [onclick]');
  if (bad.length) problems.push(`there are elements that a report has no use for: ${bad[0].outerHTML}`);
  return problems;
})()
"""


def look(browser: Browser, page: str, width: int, theme: str) -> list[str]:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    browser.events.clear()
    browser.call("Page.navigate", url=page)
    browser.wait_for("Page.loadEventFired")
    problems = keyboard(browser)
    problems += [f"wider than the page: {what}" for what in browser.evaluate(OVERFLOW)]
    # With everything unfolded, failures included.
    browser.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    problems += [f"wider than the page: {what}" for what in browser.evaluate(OVERFLOW)]
    problems += browser.evaluate(PLOTS.replace("SMALLEST", str(SMALLEST_TEXT)))
    problems += browser.evaluate(STRUCTURE)
    for name, ratio in browser.evaluate(CONTRAST).items():
        least = LINE_CONTRAST if name.startswith(("line", "axis")) else TEXT_CONTRAST
        if ratio < least:
            problems.append(f"the contrast of {name} is {ratio:.1f}, and should be {least}")
    for event in browser.events:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if url != page and not url.startswith("data:"):
                    problems.append(f"it fetches {url}")
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" | "Page.javascriptDialogOpening":
                problems.append(f"{event['method']}: {parameters}")
    return problems


def keyboard(browser: Browser) -> list[str]:
    """Goes through the page with the tabulator and opens what unfolds."""
    problems = []
    browser.press("Tab", 9)
    first = "document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().left >= 0"
    if not browser.evaluate(first):
        problems.append("the first thing that the tabulator reaches is not the visible link to the content")
    wanted = browser.evaluate("document.querySelectorAll('a, summary, .scroll').length - document.querySelectorAll('details:not([open]) .scroll').length")
    browser.evaluate("window.seen = new Set([document.activeElement]); window.unmarked = []")
    for _ in range(wanted + 5):
        browser.press("Tab", 9)
        browser.evaluate(
            "(() => { const e = document.activeElement; if (e === document.body) return; seen.add(e);"
            " if (getComputedStyle(e).outlineStyle === 'none') unmarked.push(e.tagName); })()"
        )
    reached = browser.evaluate("seen.size")
    if reached < wanted:
        problems.append(f"the tabulator reaches {reached} of {wanted} elements")
    if browser.evaluate("unmarked.length"):
        problems.append("an element with the focus does not show it")
    browser.evaluate("document.querySelector('summary').focus()")
    browser.press("Enter", 13, "\r")
    if not browser.evaluate("document.querySelector('details').open"):
        problems.append("the enter key does not unfold the numbers of a plot")
    return problems


def picture(browser: Browser, path: Path) -> None:
    browser.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = false)); scrollTo(0, 0); document.activeElement.blur()")
    size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    data = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    path.write_bytes(base64.b64decode(data))


def main() -> int:
    program, page = sys.argv[1], Path(sys.argv[2]).resolve()
    screenshots = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    failed = False
    with Browser(program) as browser:
        for width in (360, 1200):
            for theme in ("light", "dark"):
                problems = look(browser, page.as_uri(), width, theme)
                failed |= bool(problems)
                print(f"{page.parent.name} at {width} pixels, {theme}: {'; '.join(dict.fromkeys(problems)) or 'as it should be'}")
                if screenshots:
                    screenshots.mkdir(parents=True, exist_ok=True)
                    picture(browser, screenshots / f"{page.parent.name}-{width}-{theme}.png")
    return int(failed)


sys.exit(main())
