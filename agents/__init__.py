"""The learning rules, by name. A new one is one small file beside these and one entry here."""

from lfcs.agent import Agent
from lfcs.agents.acer import Acer
from lfcs.agents.bptt_ppo import BpttPpo
from lfcs.agents.e_prop import EProp
from lfcs.agents.importance import Importance
from lfcs.agents.lf_cs import LfCs
from lfcs.agents.naive_replay import NaiveReplay
from lfcs.agents.random import Random
from lfcs.agents.vtrace import VTrace

ALL: tuple[type[Agent], ...] = (LfCs, EProp, NaiveReplay, Importance, Acer, VTrace, BpttPpo, Random)
AGENTS = {agent.name: agent for agent in ALL}
