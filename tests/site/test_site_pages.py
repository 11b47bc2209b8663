"""The built site: links lead somewhere; in a browser every page works, narrow and wide, light and dark."""

import html.parser
import re
import urllib.parse
from pathlib import Path

import headless
import pytest
from site_build import built, missing, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"the site cannot be built without {missing()}"),
]
needs_browser = pytest.mark.skipif(headless.PROGRAM is None, reason="Chromium is not installed")

OPENED = """(async () => {
    await new Promise(done => document.readyState === "complete" ? done() : addEventListener("load", done));
    await document.fonts.ready;
    return document.title;
})()"""
TOO_WIDE = """(() => {
    const scrolls = element => {
        for (let above = element; above !== document.body; above = above.parentElement)
            if (getComputedStyle(above).overflowX !== "visible") return true;
        return false;
    };
    const wide = [...document.querySelectorAll("article *")].filter(
        one => one.getBoundingClientRect().right > innerWidth + 1 && !scrolls(one));
    if (document.documentElement.scrollWidth > innerWidth) wide.push(document.documentElement);
    return wide.slice(0, 3).map(one => `${one.tagName} ${one.className} ${one.textContent.slice(0, 60)}`);
})()"""
FORMULAS = """(() => {
    const all = [...document.querySelectorAll("article .katex-html")];
    const size = one => one.getBoundingClientRect();
    const seen = all.filter(one => size(one).height > 4 && size(one).width > 4);
    const fonts = [...document.fonts].filter(one => one.family.includes("KaTeX") && one.status === "loaded");
    return [all.length, seen.length, fonts.length, document.querySelectorAll(".katex-error").length];
})()"""
CUT_OFF = """(() => {
    const wrong = [];
    for (const formula of document.querySelectorAll("article .katex-html")) {
        const shapes = [...formula.querySelectorAll("span, svg")]
            .filter(one => one.tagName === "svg" || (!one.children.length && one.textContent.trim()))
            .map(one => one.getBoundingClientRect()).filter(one => one.width && one.height);
        const [left, top, bottom] = [
            Math.min(...shapes.map(one => one.left)), Math.min(...shapes.map(one => one.top)),
            Math.max(...shapes.map(one => one.bottom))];
        for (let box = formula; box.tagName !== "ARTICLE"; box = box.parentElement) {
            const [style, edge] = [getComputedStyle(box), box.getBoundingClientRect()];
            const outside = (style.overflowX !== "visible" && left < edge.left - 1)
                || (style.overflowY === "hidden" && (top < edge.top - 1 || bottom > edge.bottom + 1));
            if (outside) wrong.push(`${box.className}: ${formula.textContent.slice(0, 40)}`);
        }
    }
    return wrong.slice(0, 3);
})()"""
CONTRAST = """(() => {
    const light = color => {
        const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number)
            .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (let one = element; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)$/.test(color)) return color;
        }
        return "rgb(255, 255, 255)";
    };
    return [...document.querySelectorAll("article :is(p, li, h1, h2, h3, td, th, pre, dt, .katex)")]
        .filter(one => one.getClientRects().length && one.textContent.trim())
        .map(one => [light(getComputedStyle(one).color), light(behind(one)), one.textContent.trim()])
        .filter(([text, back]) => (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05) < 4.5)
        .map(([, , words]) => words.slice(0, 40));
})()"""


class Links(html.parser.HTMLParser):
    """The names of a page's elements, and where its links and files lead."""

    def __init__(self, text):
        super().__init__()
        self.names, self.links, self.loads = {""}, set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names |= {found.get("id"), found.get("name")}
        self.links |= {found[name] for name in ("href", "src") if found.get(name)}
        if tag != "a":
            self.loads |= {found.get("href"), found.get("src")} - {None}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def pages(site):
    """The text of each page, by its path in the site."""
    found = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in found.items()
        if not name.startswith("_static/")
    }


@pytest.fixture(scope="module")
def parsed(pages):
    return {name: Links(text) for name, text in pages.items()}


def test_links_inside_the_site_lead_to_pages_and_places_that_exist(site, parsed):
    broken = []
    for page, found in parsed.items():
        for link in found.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = urllib.parse.unquote(parts.path)
            target = (Path(page).parent / path).as_posix() if path else page
            target = Path(site, target).resolve()
            name = target.relative_to(site.resolve()).as_posix()
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (name in parsed and anchor not in parsed[name].names):
                broken.append((page, link))
    assert not broken, broken[:20]


def test_no_page_loads_anything_from_elsewhere(parsed):
    for page, found in parsed.items():
        for address in found.loads:
            assert not address.startswith(("http:", "https:", "//")), (page, address)


def test_every_group_of_pages_is_there(pages):
    for name in ("index", "start", "guides", "learn", "copied/README", "copied/learn_normalization"):
        assert f"{name}.html" in pages
    assert sum(name.startswith("api/") for name in pages) > 40
    assert sum(name.startswith("source/tinygrad_norm/") for name in pages) > 100
    assert "tinygrad_norm.nn.LayerNorm" in pages["api/nn-normalizations-sample.html"]
    assert pages["experiments/README.html"].count("<img") >= 9


def test_long_names_may_break_before_a_capital(pages):
    for name in ("systems/index", "systems/filter_response_norm", "systems/group_norm"):
        assert re.search("Filter<wbr/?>Response<wbr/?>Norm", pages[f"{name}.html"]), name


@needs_browser
def test_every_page_works_in_a_browser_and_fits_into_its_window(site, pages):
    formulas = 0
    with served(site) as address, headless.Browser() as browser:
        page = browser.open("about:blank")
        for name in pages:
            browser.events.clear()
            page.send("Page.navigate", url=address + name)
            assert page.evaluate(OPENED), name
            assert not page.errors, (name, page.errors)
            elsewhere = [url for url in page.requests if not url.startswith((address, "data:", "blob:"))]
            assert not elsewhere, (name, elsewhere)
            for width in (360, 400, 1280):
                page.resize(width)
                assert not page.evaluate(TOO_WIDE), (name, width, page.evaluate(TOO_WIDE))
                assert not page.evaluate(CUT_OFF), (name, width, page.evaluate(CUT_OFF))
            there, visible, fonts, wrong = page.evaluate(FORMULAS)
            assert visible == there, name
            assert wrong == 0, name
            assert fonts or not there, name
            formulas += there
    assert formulas > 0


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_legible_in_both_themes(site, pages, dark):
    with served(site) as address, headless.Browser() as browser:
        page = browser.open("about:blank", dark=dark)
        for name in pages:
            if name.startswith(("source/", "genindex", "search")):
                continue
            page.send("Page.navigate", url=address + name)
            page.evaluate(OPENED)
            assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
            assert not page.evaluate(CONTRAST), (name, page.evaluate(CONTRAST)[:5])
