"""Items of OpenAI's Responses API, and rollouts of NeMo Gym, which hold them."""
