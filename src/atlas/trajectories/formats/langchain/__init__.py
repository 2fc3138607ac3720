"""Messages of LangChain, states of LangGraph, runs of LangSmith."""
