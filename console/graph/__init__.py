"""Draws the choreography from the contracts.

chart    what is drawn: methods and their roles, and the events between them
text     for a terminal
mermaid  for a README
dot      for Graphviz
as_json  for programs
"""

from collections.abc import Callable

from console.graph.as_json import as_json
from console.graph.chart import Chart
from console.graph.dot import as_dot
from console.graph.mermaid import as_mermaid
from console.graph.text import as_text
from mesh.contract import Contract

_DRAWING: dict[str, Callable[[Chart], str]] = {
    "text": as_text,
    "mermaid": as_mermaid,
    "dot": as_dot,
    "json": as_json,
}
FORMATS = tuple(_DRAWING)


def draw(contract: Contract, format_: str) -> str:
    """The contract in one of FORMATS; raises ContractError where a service has no name in the mesh."""
    return _DRAWING[format_](Chart(contract))
