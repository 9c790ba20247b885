"""The ACP agents that the server knows by name: how to install each, how to start it, and what it needs.

Names, commands and packages are those of the public registry of the Agent Client Protocol, of npm and of PyPI.
"""

from typing import Literal, NamedTuple


class KnownAgent(NamedTuple):
    """An agent that can be used by its name alone.

    `install` is a command line, or a page if there is none. `env` are the server's variables that the agent gets, such
    as its key; `variables` are others, with their values. `files` are the directories of the home that it needs, with
    `:rw` if it writes there; a sign-in by its own command is kept there too. `unusable_services` are those of the
    server that it cannot use.
    """

    title: str
    install: str
    command: tuple[str, ...]
    env: tuple[str, ...]
    files: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    sign_in: str = ""
    unusable_services: tuple[Literal["fs", "terminal"], ...] = ()


_OPENAI = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
_ANTHROPIC = ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
_GOOGLE = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL")

KNOWN_AGENTS: dict[str, KnownAgent] = {
    "claude": KnownAgent(
        title="Claude Code",
        install="npm install -g @agentclientprotocol/claude-agent-acp",
        command=("claude-agent-acp",),
        env=(*_ANTHROPIC, "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL", "CLAUDE_CODE_OAUTH_TOKEN"),
        files=("~/.claude:rw",),
        sign_in="claude /login",
    ),
    "codex": KnownAgent(
        title="Codex",
        install="npm install -g @agentclientprotocol/codex-acp",
        command=("codex-acp",),
        env=(*_OPENAI, "CODEX_API_KEY"),
        files=("~/.codex:rw",),
        sign_in="codex login",
    ),
    "gemini": KnownAgent(
        title="Gemini CLI",
        install="npm install -g @google/gemini-cli",
        command=("gemini", "--experimental-acp"),
        env=(*_GOOGLE, "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"),
        files=("~/.gemini:rw",),
        sign_in="gemini",
        unusable_services=("fs",),  # it does not understand the error for a file that does not exist
    ),
    "opencode": KnownAgent(
        title="opencode",
        install="npm install -g opencode-ai",
        command=("opencode", "acp"),
        env=(
            *("OPENCODE_API_KEY", "OPENCODE_CONFIG", "OPENCODE_CONFIG_CONTENT", "OPENCODE_DISABLE_MODELS_FETCH"),
            *(*_OPENAI, *_ANTHROPIC, *_GOOGLE, "OPENROUTER_API_KEY"),
        ),
        files=("~/.config/opencode", "~/.local/share/opencode:rw"),
        sign_in="opencode auth login",
    ),
    "qwen": KnownAgent(
        title="Qwen Code",
        install="npm install -g @qwen-code/qwen-code",
        command=("qwen", "--acp"),
        env=(*_OPENAI, "OPENAI_MODEL", "DASHSCOPE_API_KEY"),
        files=("~/.qwen:rw",),
        sign_in="qwen",
    ),
    "goose": KnownAgent(
        title="Goose",
        install="https://block.github.io/goose/docs/getting-started/installation",
        command=("goose", "acp"),
        env=("GOOSE_PROVIDER", "GOOSE_MODEL", "GOOSE_MODE", *_OPENAI, "OPENAI_HOST", *_ANTHROPIC, *_GOOGLE),
        files=("~/.config/goose:rw", "~/.local/share/goose:rw", "~/.local/state/goose:rw"),
        sign_in="goose configure",
    ),
    "copilot": KnownAgent(
        title="GitHub Copilot",
        install="npm install -g @github/copilot",
        command=("copilot", "--acp"),
        env=("COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"),
        files=("~/.copilot:rw",),
        sign_in="copilot login",
    ),
    "auggie": KnownAgent(
        title="Auggie",
        install="npm install -g @augmentcode/auggie",
        command=("auggie", "--acp"),
        env=("AUGMENT_SESSION_AUTH", "AUGMENT_API_TOKEN", "AUGMENT_API_URL"),
        files=("~/.augment:rw",),
        variables=(("AUGMENT_DISABLE_AUTO_UPDATE", "1"),),
        sign_in="auggie login",
    ),
    "cline": KnownAgent(
        title="Cline",
        install="npm install -g cline",
        command=("cline", "--acp"),
        env=("CLINE_API_KEY", *_OPENAI, *_ANTHROPIC),
        files=("~/.cline:rw",),
        sign_in="cline auth",
    ),
    "droid": KnownAgent(
        title="Factory Droid",
        install="npm install -g @factory/cli",
        command=("droid", "exec", "--output-format", "acp"),
        env=("FACTORY_API_KEY",),
        files=("~/.factory:rw",),
        variables=(("DROID_DISABLE_AUTO_UPDATE", "true"), ("FACTORY_DROID_AUTO_UPDATE_ENABLED", "false")),
        sign_in="droid",
    ),
    "kimi": KnownAgent(
        title="Kimi CLI",
        install="https://github.com/MoonshotAI/kimi-cli",
        command=("kimi", "acp"),
        env=("KIMI_API_KEY", "KIMI_BASE_URL", "KIMI_MODEL_NAME"),
        files=("~/.kimi:rw",),
        sign_in="kimi",
    ),
    "qoder": KnownAgent(
        title="Qoder CLI",
        install="npm install -g @qoder-ai/qodercli",
        command=("qodercli", "--acp"),
        env=("QODER_PERSONAL_ACCESS_TOKEN",),
        files=("~/.qoder:rw",),
        sign_in="qodercli",
    ),
    "vibe": KnownAgent(
        title="Mistral Vibe",
        install="uv tool install mistral-vibe",
        command=("vibe-acp",),
        env=("MISTRAL_API_KEY",),
        files=("~/.vibe:rw",),
        sign_in="vibe --setup",
    ),
}
"""The agents by the name that `AGENT` and `AGENTS` take."""
