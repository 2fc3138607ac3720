"""Messages to the forms of chat templates and servers, and text to tokens with step ownership."""
