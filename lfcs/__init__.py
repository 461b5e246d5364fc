"""lfcs: learning fast, changing slow. Recurrent spiking policies that learn online from local traces."""

__version__ = "0.1.0"
