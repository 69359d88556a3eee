import { troubled } from "./troubled.js";

export default troubled({ strategy: "none" });
