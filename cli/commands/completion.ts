import type { Command } from "../command.ts";
import { completionScript, SHELLS } from "../completion.ts";
import { EXIT, UserError } from "../errors.ts";

export const completion: Command = {
  name: "completion",
  summary: "The script that teaches your shell to complete weft's commands, options, pods and objects",
  args: [{ name: "<shell>", help: SHELLS.join(", "), values: SHELLS }],
  options: [],
  examples: [
    "source <(weft completion bash)",
    "weft completion zsh > ~/.weft-completion.zsh   # and in ~/.zshrc: source ~/.weft-completion.zsh",
    "weft completion fish > ~/.config/fish/completions/weft.fish",
    "weft completion powershell | Out-String | Invoke-Expression",
  ],
  async run({ args, out }) {
    const shell = SHELLS.find((one) => one === args[0]);
    if (shell === undefined)
      throw new UserError(`${String(args[0])}: one of ${SHELLS.join(", ")}`, EXIT.usage);
    out.line(completionScript(shell).trimEnd());
    return EXIT.ok;
  },
};
