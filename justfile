# `just check` before you push; `just` alone lists the recipes.
default:
    @just --list

# Format, lint, types, import contracts, tests, and requirements.txt unchanged.
check: format lint types contracts test requirements-current

format:
    uv run ruff format .

lint:
    uv run ruff check --fix .

types:
    uv run pyright

contracts:
    uv run lint-imports

test *arguments:
    uv run pytest {{arguments}}

# Everything, also what takes minutes.
test-all:
    uv run pytest -m ""

# The pinned set for people who use pip; no address of any package index goes into it.
requirements:
    uv export --quiet --no-hashes --no-header --no-annotate --no-emit-index-url --no-group dev -o requirements.txt

requirements-current: requirements
    git diff --exit-code requirements.txt
