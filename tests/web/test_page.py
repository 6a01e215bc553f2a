"""The page as files: it needs nothing but itself, and says what of it was written by others."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "sluicegate" / "http" / "web"
VENDOR = WEB / "vendor"
BUILD = ROOT / "web-build"
MODULES = sorted(WEB.glob("*.js"))


class References(HTMLParser):
    """What a document asks a browser to fetch, and what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(values["id"] or "")
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data") and value]
        self.inline += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.inline.append(tag)


@pytest.fixture(scope="module")
def index() -> References:
    parser = References()
    parser.feed((WEB / "index.html").read_text("utf-8"))
    return parser


def test_index_refers_only_to_files_of_the_page(index: References) -> None:
    for address in index.addresses:
        if address.startswith("#"):
            assert address[1:] in index.ids
        else:
            assert address.startswith("/web/"), address
            assert (WEB / address.removeprefix("/web/")).is_file(), address


def test_index_works_under_a_policy_without_inline_code(index: References) -> None:
    assert index.inline == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_modules_import_only_files_of_the_page(module: Path) -> None:
    text = module.read_text("utf-8")
    for target in re.findall(r'^(?:import|export)\b[^;"(]*?\bfrom "([^"]+)"', text, re.MULTILINE):
        assert target.startswith("./"), target
        assert (module.parent / target).is_file(), target
    assert not re.search(r"https?://[a-z0-9]", text.replace("http://www.w3.org/2000/svg", "")), "an address elsewhere"


def test_style_fetches_nothing() -> None:
    assert not re.search(r"@import|url\(", (WEB / "style.css").read_text("utf-8"))


def test_elements_and_icons_that_modules_name_exist(index: References) -> None:
    text = "".join(module.read_text("utf-8") for module in MODULES)
    named = set(re.findall(r'(?:byId|write)\("([a-z-]+)"', text))
    icons = {f"icon-{name}" for name in re.findall(r'\bicon\("([a-z-]+)"\)', text)}
    assert named and icons
    assert named | icons <= index.ids


def test_bundle_carries_its_licences() -> None:
    head = (VENDOR / "mediasoup-client.js").read_text("utf-8")[:2000]
    packages = re.findall(r"^ \* (\S+ \d\S*) \(", head, re.MULTILINE)
    licences = (VENDOR / "LICENSE").read_text("utf-8") + (VENDOR / "NOTICE").read_text("utf-8")
    assert packages[0].startswith("mediasoup-client ")
    assert "Permission to use, copy, modify" in licences
    for package in packages:
        assert package in licences


def test_bundle_is_of_the_version_that_the_build_pins() -> None:
    pinned = json.loads((BUILD / "package.json").read_text("utf-8"))["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
    assert f"mediasoup-client {pinned['mediasoup-client']}" in (VENDOR / "mediasoup-client.js").read_text("utf-8")[:200]


def test_lock_names_no_registry() -> None:
    lock = (BUILD / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock
    assert "registry" not in lock
