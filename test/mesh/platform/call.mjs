/** Waits until `api` answers through the mesh, and writes down as whom it saw us. */
import { writeFileSync } from "node:fs";
import { get } from "node:http";

const [, , file] = process.argv;
function attempt() {
  get("http://api:8080/", (response) => {
    let text = "";
    response.on("data", (piece) => {
      text += piece;
    });
    response.on("end", () => {
      if (response.statusCode !== 200) return void setTimeout(attempt, 100);
      writeFileSync(file, JSON.parse(text).identity ?? "nobody");
    });
  }).on("error", () => setTimeout(attempt, 100));
}
attempt();
