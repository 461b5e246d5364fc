"""The learning rules, by name. A new one is one small file beside these and one entry here."""

from agents.acer import Acer
from agents.bptt_ppo import BpttPpo
from agents.e_prop import EProp
from agents.importance import Importance
from agents.lf_cs import LfCs
from agents.naive_replay import NaiveReplay
from agents.random import Random
from agents.vtrace import VTrace
from lfcs.agent import Agent

ALL: tuple[type[Agent], ...] = (LfCs, EProp, NaiveReplay, Importance, Acer, VTrace, BpttPpo, Random)
AGENTS = {agent.name: agent for agent in ALL}
