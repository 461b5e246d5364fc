"""The best published returns by environment, spiking and other, with their sources, and the return that is mastery.

``steps`` are environment steps of training unless it says otherwise. An environment without an entry has none that is
known here. Figures from one run of a library's benchmark say so.
"""

PUBLISHED = {
    "CartPole-v1": {
        "threshold": 475.0,
        "spiking": {"score": 500.0, "steps": "about 50 episodes", "of": "gradient-free", "source": "arXiv:2507.09540"},
        "other": {
            "score": 500.0,
            "steps": "50,000",
            "of": "PPO of Stable-Baselines3 with rl-zoo's settings",
            "source": "measured here, 3 seeds",
        },
    },
    "Pong100-v0": {
        "threshold": 0.65,
        "spiking": {"score": 0.65, "steps": "245,000", "of": "lf-cs", "source": "arXiv:2402.10069, Figure 1c"},
        "other": {
            "score": -0.5,
            "steps": "250,000",
            "of": "PPO of Stable-Baselines3",
            "source": "measured here, 5 seeds, sampled actions",
        },
    },
    "Acrobot-v1": {
        "threshold": -100.0,
        "other": {"score": -76.6, "steps": "100,000", "of": "DQN", "source": "rl-zoo's benchmark.md, one run"},
    },
    "MountainCar-v0": {
        "threshold": -110.0,
        "other": {"score": -100.8, "steps": "120,000", "of": "DQN", "source": "rl-zoo's benchmark.md, one run"},
    },
    "MountainCarContinuous-v0": {
        "threshold": 90.0,
        "other": {"score": 94.7, "steps": "50,000", "of": "SAC", "source": "rl-zoo's benchmark.md, one run"},
    },
    "Pendulum-v1": {
        "threshold": -200.0,
        "other": {"score": -152.0, "steps": "20,000", "of": "TD3", "source": "rl-zoo's benchmark.md, one run"},
    },
    "LunarLander-v3": {
        "threshold": 200.0,
        "other": {
            "score": 242.0,
            "steps": "1,000,000",
            "of": "PPO (on v2)",
            "source": "rl-zoo's benchmark.md, one run",
        },
    },
    "BipedalWalker-v3": {
        "threshold": 300.0,
        "other": {"score": 330.0, "steps": "500,000", "of": "TQC", "source": "rl-zoo's benchmark.md, one run"},
    },
    "CartPoleNoVelocity-v0": {
        "threshold": 475.0,
        "other": {
            "score": 500.0,
            "steps": "100,000",
            "of": "recurrent PPO",
            "source": "rl-zoo's benchmark.md, one run",
        },
    },
    "CueAccumulation-v0": {
        "threshold": 0.8,
        "spiking": {
            "score": 0.86,
            "steps": "6,400 to 16,000 supervised trials",
            "of": "e-prop, under 7 % errors",
            "source": "Bellec et al. 2020",
        },
    },
    "LunarLanderContinuous-v3": {
        "threshold": 200.0,
        "other": {"score": 278.0, "steps": "500,000", "of": "TQC (on v2)", "source": "rl-zoo's benchmark.md, one run"},
    },
}
