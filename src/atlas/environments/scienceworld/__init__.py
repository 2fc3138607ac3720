"""ScienceWorld: experiments at the level of a school book, in the wording of AgentGym."""
