"""The learning rules, by name. A new one is one small file beside these and one entry here."""

from agents.e_prop import EProp
from agents.lf_cs import LfCs

AGENTS = {agent.name: agent for agent in (LfCs, EProp)}
