import { render } from "preact";
import { App } from "./app";
import "./style.css";
import "./guard.css";
import "./models.css";

const root = document.getElementById("app");
if (root) render(<App />, root);
