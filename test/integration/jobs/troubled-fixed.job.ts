import { troubled } from "./troubled.js";

export default troubled({ strategy: "fixed-delay", delay: "10ms", attempts: 2 });
