"""A module imports only from ranks below its own or from its own folder, without circles."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "perl_jax"

RANKS = {
    "activity": 0, "types": 0, "files": 0, "storage": 0, "flops": 0, "hub": 0, "chips": 0,
    "legible": 0, "kernels": 0, "dense_attention": 0,
    "settings": 1,
    "fields": 2, "hosts": 2, "mesh": 2, "buckets": 2, "attention": 2, "objectives": 2,
    "compilation": 2, "device_memory": 2, "host_memory": 2, "filtering": 2, "endpoint": 2,
    "permutation": 2, "processing": 2,
    "overrides": 3, "models": 3, "rewards": 3,
    "main": 4, "testing": 4, "rollout": 4,
    "data": 5, "update": 5,
    "ladders": 6, "datasets": 6, "preparation": 6, "experience": 6,
    "evaluation": 7,
    "training": 8,
    "config": 9,
    "parts": 10, "overview": 10, "readiness": 10, "inspection": 10,
    "planning": 11, "runs": 11, "page": 11,
    "train": 12, "warmstart": 12, "generate": 12, "evaluate": 12,
    "plan": 12, "export": 12, "check": 12, "report": 12,
    "data.lint": 12, "data.show": 12, "data.build": 12, "data.prepare": 12,
    "__main__": 13,
}  # fmt: skip


def modules():
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def unit(path: Path) -> str:
    """The folder or module directly under perl_jax that a file belongs to."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name if name in RANKS else name.split(".")[0]


def module_name(path: Path) -> str:
    parts = ("perl_jax", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported(path: Path) -> set[str]:
    """Every perl_jax module that a file imports, at any depth of its code, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if is_module(inner) else node.module)
    return {name for name in names if name.split(".")[0] == "perl_jax" and name != "perl_jax"}


def test_every_module_has_a_rank():
    unranked = {unit(path) for path in modules()} - RANKS.keys()
    assert not unranked, f"give these a rank in the layout: {sorted(unranked)}"


def test_imports_point_to_lower_ranks():
    violations = []
    for path in modules():
        for name in imported(path):
            inner = name.removeprefix("perl_jax.")
            other = inner if inner in RANKS else inner.split(".")[0]
            if other != unit(path) and RANKS[other] >= RANKS[unit(path)]:
                violations.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not violations, "\n".join(violations)


def test_folders_have_no_import_circles():
    names = {module_name(path): path for path in modules()}
    edges = {name: imported(path) & names.keys() - {name} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "circle: " + " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())
