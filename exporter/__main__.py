"""``python -m exporter COMMAND``."""

from exporter.cli import main

if __name__ == "__main__":
    main(prog_name="chatbot-exporter")
