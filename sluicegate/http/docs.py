"""`GET /docs`: the OpenAPI document as one page for people, made once at start; no script, nothing from elsewhere."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#2563eb}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1.5rem}
code,pre,.path{font-family:ui-monospace,monospace;font-size:.9em}
pre{background:var(--soft);padding:.75rem;overflow:auto;border-radius:.4rem}
details{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0}
summary{padding:.5rem .75rem;cursor:pointer;display:flex;gap:.75rem;flex-wrap:wrap;align-items:baseline}
details>div{padding:0 .75rem .75rem}
.method{font-weight:700;min-width:4.5rem;color:var(--accent)}
.grey{opacity:.7}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;border-top:1px solid var(--line);padding:.3rem .5rem}
a{color:var(--accent)}
"""


class DocsPage:
    """`body` is the page, `policy` the Content-Security-Policy that allows its style and nothing else."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
        self.policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
        self.body = render(document).encode()


def render(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document as `openapi.build_document` makes it."""
    info = document["info"]
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f'<h1>{escape(info["title"])} <span class="grey">{escape(info["version"])}</span></h1>',
        *(f"<p>{_prose(paragraph)}</p>" for paragraph in info["description"].split("\n\n")),
        '<p><a href="/openapi.json">openapi.json</a></p>',
    ]
    responses = document["components"]["responses"]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.append(_operation(method, path, operation, responses))
    parts.append("<h2>Schemas</h2>")
    parts.extend(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    parts.append("</body></html>")
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Mapping[str, Any], problems: Mapping[str, Any]) -> str:
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method.upper()}</span>',
        f'<span class="path">{escape(path)}</span><span class="grey">{_prose(operation["summary"])}</span>',
        "</summary><div>",
    ]
    if "description" in operation:
        parts.append(f"<p>{_prose(operation['description'])}</p>")
    if "parameters" in operation:
        rows = (
            (f"{p['name']} <span class=grey>{p['in']}</span>", type_text(p["schema"]), _prose(p["description"]))
            for p in operation["parameters"]
        )
        parts.append(_table(("Parameter", "Type", "Meaning"), rows))
    body = operation.get("requestBody")
    if body is not None:
        content = body["content"]["application/json"]
        parts.append(f"<p>Body: {type_text(content['schema'])}</p>")
        if "example" in content:
            parts.append(f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>")
    parts.append(_table(("Status", "Answer", "Meaning"), _answers(operation["responses"], problems)))
    return "".join(parts) + "</div></details>"


def _answers(responses: Mapping[str, Any], problems: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for status, response in responses.items():
        if "$ref" in response:
            response = problems[response["$ref"].rpartition("/")[2]]
        kinds = [
            f"{type_text(content['schema'])} <span class=grey>{escape(media)}</span>"
            for media, content in response.get("content", {}).items()
        ]
        yield escape(status), ", ".join(kinds), _prose(response["description"])


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    parts = [f'<details id="schema-{escape(name)}"><summary><span class="path">{escape(name)}</span></summary><div>']
    if "description" in schema:
        parts.append(f"<p>{_prose(schema['description'])}</p>")
    required = schema.get("required", ())
    rows = [
        (f"{escape(field)}{'' if field in required else '?'}", type_text(kind), _prose(kind.get("description", "")))
        for field, kind in schema.get("properties", {}).items()
    ]
    parts.append(_table(("Field", "Type", "Meaning"), rows) if rows else f"<p>{type_text(schema)}</p>")
    return "".join(parts) + "</div></details>"


def type_text(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words of HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(type_text(choice) for choice in schema[union])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {type_text(schema.get('items') or {})}"
    text = escape(str(schema.get("format", kind)))
    low, high = schema.get("minimum"), schema.get("maximum")
    return (
        text if low is None and high is None else f"{text} {'' if low is None else low}–{'' if high is None else high}"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{name}</th>" for name in head) + f"</tr>{lines}</table>"


def _prose(text: str) -> str:
    """Escaped text in which `code` is set as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
