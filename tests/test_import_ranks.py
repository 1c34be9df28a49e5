"""A module imports only from ranks below its own or from its own folder, without circles."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "perl_jax"

RANKS = {
    "types": 0, "settings": 0, "flops": 0, "hub": 0, "hosts": 0, "mesh": 0,
    "attention": 0, "buckets": 0, "objectives": 0,
    "overrides": 1, "permutation": 1, "rewards": 1, "filtering": 1, "processing": 1, "models": 1,
    "testing": 2, "main": 2, "rollout": 2,
    "data": 3,
    "training": 4, "evaluation": 4,
    "config": 5,
    "planning": 6, "parts": 6,
    "runs": 7,
    "train": 8, "warmstart": 8, "evaluate": 8, "generate": 8, "plan": 8, "export": 8,
}  # fmt: skip


def modules():
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def unit(path: Path) -> str:
    """The folder or module directly under perl_jax that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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
            other = name.split(".")[1]
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
