"""Recurrent networks: RNN, LSTM and GRU, and their cells."""
